"""The limiter against made-up servers in made-up time: what it gets out of a limit, and what it costs to find it."""

import heapq
import itertools
import random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.judge.limits.adaptive import AdaptiveLimiter


class Server(NamedTuple):
    """What a made-up server does with a call."""

    latency_s: float = 0.3
    rps: float = 0.0
    """Hard limit, a token bucket; 0 without."""
    burst: float = 5.0
    most_in_flight: int = 0
    refuses: float = 0.0
    """Share of calls refused at any rate."""
    fails: float = 0.0
    retry_after_s: float = 1.0


class Told(NamedTuple):
    """What came of it."""

    seconds: float
    requests: int
    refused: int
    most_in_flight: int

    def per_second(self, items: int) -> float:
        return items / self.seconds


def play(items: int, limiters: list[AdaptiveLimiter], server: Server, seed: int = 1) -> Told:
    """So many items through some workers' limiters, in the order of events; refused and failed ones come again."""
    chance = random.Random(seed)
    events: list[tuple[float, int, str, tuple[Any, ...]]] = []
    number = itertools.count()
    tokens, filled_at = server.burst, 0.0
    left, done, requests, refused, most, now = items, 0, 0, 0, 0, 0.0
    waiting: list[list[float]] = [[] for _ in limiters]
    woken = [-1.0] * len(limiters)

    def at(when: float, what: str, *about: Any) -> None:
        heapq.heappush(events, (when, next(number), what, about))

    def call(which: int) -> None:
        nonlocal tokens, filled_at, requests, most
        window = limiters[which].begins(now)
        requests += 1
        under_way = sum(limiter.in_flight for limiter in limiters)
        most = max(most, under_way)
        is_refused = chance.random() < server.refuses or 0 < server.most_in_flight < under_way
        if server.rps:
            tokens, filled_at = min(server.burst, tokens + server.rps * (now - filled_at)), now
            is_refused |= tokens < 1
            tokens -= not is_refused
        latency_s = server.latency_s * chance.lognormvariate(0, 0.25)
        if is_refused:
            at(now + 0.005, "refused", which, window)
        else:
            at(now + latency_s, "failed" if chance.random() < server.fails else "answered", which, latency_s)

    def fill() -> None:
        nonlocal left
        for which, limiter in enumerate(limiters):
            while limiter.free_slots(now) > 0:
                if waiting[which] and waiting[which][0] <= now:
                    heapq.heappop(waiting[which])
                elif left:
                    left -= 1
                else:
                    break
                call(which)
            wait_s = limiter.wait_s(now)
            next_at = now + max(wait_s, 0.001) if wait_s is not None and (left or waiting[which]) else now
            if waiting[which] and waiting[which][0] > now and not left:
                next_at = max(next_at, waiting[which][0])
            if next_at > now and not now < woken[which] <= next_at:
                woken[which] = next_at
                at(next_at, "wake")

    fill()
    while done < items:
        now, _, what, about = heapq.heappop(events)
        if what == "answered":
            limiters[about[0]].answered(now, about[1])
            done += 1
        elif what == "failed":
            limiters[about[0]].failed(now)
            heapq.heappush(waiting[about[0]], now + chance.uniform(0, 1))
        elif what == "refused":
            refused += 1
            limiters[about[0]].refused(now, about[1], server.retry_after_s)
            heapq.heappush(waiting[about[0]], now + server.retry_after_s * (1 + chance.random()))
        fill()
    return Told(now, requests, refused, most)


def test_without_a_limit_it_is_as_fast_as_the_setting_allows() -> None:
    told = play(5_000, [AdaptiveLimiter(50), AdaptiveLimiter(50)], Server())
    assert told.per_second(5_000) > 0.9 * 100 / 0.31  # the mean of the latencies is .31
    assert (told.requests, told.most_in_flight) == (5_000, 100)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_hard_limit_is_used_and_hardly_ever_met(workers: int, seed: int) -> None:
    limiters = [AdaptiveLimiter(100 // workers) for _ in range(workers)]
    told = play(5_000, limiters, Server(rps=50), seed)
    used, each = told.per_second(5_000) / 50, told.requests / 5_000
    assert (used > 0.93, each < 1.1) == (True, True) if workers < 4 else (used > 0.85, each < 1.25) == (True, True)


@pytest.mark.parametrize(
    ("server", "items", "least", "requests_each"),
    [
        (Server(rps=1, burst=60), 300, 1.0, 1.35),
        (Server(rps=8, burst=8, retry_after_s=5), 1_000, 6.5, 1.35),
        (Server(rps=8, burst=500, retry_after_s=30), 3_000, 7.8, 1.1),
        (Server(most_in_flight=20), 3_000, 0.75 * 20 / 0.31, 1.2),
        (Server(latency_s=20.0, most_in_flight=4), 100, 0.1, 2.2),
    ],
    ids=["1 a second", "8 a second", "500 at once, then 8 a second", "20 at once", "slow, 4 at once"],
)
def test_limits_of_other_shapes_are_found_too(server: Server, items: int, least: float, requests_each: float) -> None:
    told = play(items, [AdaptiveLimiter(16 if server.rps else 50)], server)
    assert told.per_second(items) > least
    assert told.requests / items < requests_each


class FallingLimit:
    """A server whose hard limit falls after so many requests."""

    latency_s, burst, most_in_flight, refuses, fails, retry_after_s = 0.3, 5.0, 0, 0.0, 0.0, 1.0

    def __init__(self, before: float, after: float, requests: int) -> None:
        self._before, self._after, self._reads = before, after, 2 * requests

    @property
    def rps(self) -> float:
        self._reads -= 1  # `play` reads it twice a request
        return self._before if self._reads >= 0 else self._after


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("after", [35.0, 25.0, 10.0])
def test_a_limit_that_falls_below_the_slowest_of_the_cuts_is_followed(after: float, seed: int) -> None:
    server: Any = FallingLimit(100.0, after, 2_000)
    told = play(5_000, [AdaptiveLimiter(50), AdaptiveLimiter(50)], server, seed)
    assert told.requests / 5_000 < 1.2  # 1.37, were the slowest kept for as long as too much is refused
    assert told.per_second(5_000) > 0.9 * 5_000 / (2_000 / 100 + 3_000 / after)


def test_refusals_and_failures_at_any_rate_are_no_limit() -> None:
    free = play(5_000, [AdaptiveLimiter(50), AdaptiveLimiter(50)], Server()).seconds
    assert (
        play(5_000, [AdaptiveLimiter(50), AdaptiveLimiter(50)], Server(refuses=0.05, fails=0.05)).seconds < 1.5 * free
    )
    for share in (0.1, 0.2):  # at a tenth, 14 times as long when each quiet window made the slowest rate slower
        told = play(5_000, [AdaptiveLimiter(50), AdaptiveLimiter(50)], Server(refuses=share))
        assert told.seconds < 2.2 * free


@pytest.mark.parametrize("seed", [3, 7, 12, 25, 30])
def test_room_that_another_process_takes_is_no_sign_that_slowing_down_is_useless(seed: int) -> None:
    told = play(5_000, [AdaptiveLimiter(50), AdaptiveLimiter(50)], Server(rps=50), seed)
    assert told.requests / 5_000 < 1.12  # 1.15 to 1.20 when one of the two believes it, and takes what it can for 30 s
    assert told.per_second(5_000) > 46


def test_a_few_refusals_at_the_start_are_chance() -> None:
    free = play(2_500, [AdaptiveLimiter(50), AdaptiveLimiter(50)], Server()).seconds
    slowest = max(
        play(2_500, [AdaptiveLimiter(50), AdaptiveLimiter(50)], Server(refuses=0.05, fails=0.02), seed).seconds
        for seed in range(1, 21)
    )
    assert slowest < 1.55 * free  # 1.7, were three of the first sixteen enough to slow down


def test_a_rate_that_is_set_is_never_exceeded() -> None:
    told = play(1_000, [AdaptiveLimiter(50, rate=20.0)], Server())
    assert 19 < told.per_second(1_000) <= 20.1
    assert told.refused == 0


def test_a_storm_pauses_everything_for_as_long_as_asked() -> None:
    limiter = AdaptiveLimiter(16)
    windows = [limiter.begins(0.0) for _ in range(16)]
    assert limiter.free_slots(0.0) == 0
    for window in windows[:12]:
        limiter.refused(0.01, window, 7.0)
    assert limiter.free_slots(6.9) == 0
    assert limiter.wait_s(5.0) == pytest.approx(2.0, abs=0.1)
    assert limiter.free_slots(7.1) > 0
    assert limiter.rate is not None


def test_an_allowance_that_is_used_up_pauses_everything_but_never_longer_than_a_minute() -> None:
    limiter = AdaptiveLimiter(16)
    limiter.refused(0.0, limiter.begins(0.0), 3_600.0, is_used_up=True)
    assert limiter.free_slots(59.0) == 0
    assert limiter.free_slots(60.1) > 0


def test_a_call_of_an_earlier_window_says_nothing_about_this_one() -> None:
    limiter = AdaptiveLimiter(16)
    old = [limiter.begins(0.0) for _ in range(16)]
    for window in old[:8]:
        limiter.refused(0.01, window, None)
    for window in old[8:12]:
        limiter.refused(0.02, window, None)
    rate = limiter.rate
    for window in old[12:]:
        limiter.refused(0.03, window, None)
    assert limiter.rate == rate


ACTS = st.lists(st.tuples(st.sampled_from(["begin", "answer", "refuse", "fail", "give up"]), st.floats(0, 3)))


@settings(max_examples=200, deadline=None)
@given(acts=ACTS, most=st.integers(1, 40), rate=st.one_of(st.none(), st.floats(0.1, 100)))
def test_whatever_happens_the_bounds_hold_and_it_never_stands_still_for_ever(
    acts: list[tuple[str, float]], most: int, rate: float | None
) -> None:
    limiter, now, windows = AdaptiveLimiter(most, rate=rate), 0.0, []
    for act, wait_s in acts:
        now += wait_s
        if act == "begin":
            if limiter.free_slots(now):
                windows.append(limiter.begins(now))
        elif windows:
            window = windows.pop(0)
            if act == "answer":
                limiter.answered(now, wait_s)
            elif act == "refuse":
                limiter.refused(now, window, wait_s)
            elif act == "fail":
                limiter.failed(now)
            else:
                limiter.abandoned()
        assert 0 <= limiter.in_flight == len(windows) <= most
        assert 1 <= limiter.limit <= most
        assert limiter.rate is None or 0 < limiter.rate <= (rate or float("inf"))
        assert limiter.held_calls() >= 1
    for _ in windows:
        limiter.abandoned()
    assert limiter.free_slots(now + 100.0) > 0
