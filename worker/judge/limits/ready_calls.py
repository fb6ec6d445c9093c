"""How many calls to a model a worker should have in hand: enough that no slot stays free, few enough to be fresh."""

import math

from worker.judge.limits.call_queue import CallQueue

MIN_READY_RATE = 1.0
"""Calls a second below which none is made ready before its turn."""


def wanted_calls(queue: CallQueue) -> int:
    """How many more calls should be made ready now; 0 while the model is left alone."""
    if queue.health.state == "open":
        return 0
    limiter = queue.limiter
    wanted = max(0, held_calls(queue) - limiter.in_flight - queue.waiting)
    if limiter.rate is None or limiter.rate >= MIN_READY_RATE:
        return wanted
    # what waits here for seconds, another process might ask at once: only what can start now
    return min(wanted, max(0, queue.free_slots() - queue.waiting))


def held_calls(queue: CallQueue) -> int:
    """Calls that should be under way or ready, at least 1.

    One while the model has to prove that it answers. Else as the limiter has it; where a quota is smaller, half a
    second's more than are under way at its rate.
    """
    if queue.health.state != "closed":
        return 1
    held = queue.limiter.held_calls()
    if queue.quota is None or queue.quota.limits.requests_per_minute is None:
        return held
    per_s = queue.quota.limits.requests_per_minute / 60
    return min(held, math.ceil(per_s * (queue.limiter.latency_s + 0.5)) + 1)


def min_claim(queue: CallQueue) -> int:
    """Calls that one should want before more are fetched, at least 1."""
    if queue.health.state != "closed":
        return 1
    fewest = queue.limiter.min_claim()
    return fewest if queue.quota is None else min(fewest, max(1, held_calls(queue) // 5))
