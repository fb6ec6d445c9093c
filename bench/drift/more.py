"""False alarms, delays and µs a call where ../shared/bench/drift_bench.py does not look: many streams, gaps, rates."""

import argparse
import timeit
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from worker.core.drift.scan import Finding, Floats, scan

LEARNED, YEAR, CHANGE, MUTE = 28, 364, 84, 7


def simulated(rng: np.random.Generator, nights: int, p: Any = 0.85, n: Any = 50) -> tuple[Floats, Floats]:
    """Scores and passes of each night."""
    count = np.maximum(rng.poisson(n, nights), 1)
    return count.astype(float), rng.binomial(count, np.broadcast_to(p, nights)).astype(float)


def alarms(n: Floats, s: Floats, first: int = LEARNED, **options: Any) -> Iterator[tuple[int, Finding]]:
    start = 0
    for night in range(first, len(n)):
        if night < start:
            continue
        found = scan(n[: night + 1], s[: night + 1], s[: night + 1], start=start, **options)
        if found:
            yield night, found
            start = night + 1 + MUTE


def false_alarms(reps: int, rng: np.random.Generator) -> None:
    weekday = np.arange(LEARNED + YEAR) % 7 < 5

    def rate(label: str, streams: int, nights: int = LEARNED + YEAR, first: int = LEARNED, **how: Any) -> None:
        options = {k: how.pop(k) for k in ("false_alarms_per_year", "direction") if k in how}
        gaps, total = how.pop("gaps", False), []
        for _ in range(reps * streams):
            n, s = simulated(rng, nights, **how)
            n, s = (n * weekday[:nights], s * weekday[:nights]) if gaps else (n, s)
            total.append(len(list(alarms(n, s, first, streams=streams, **options))))
        years = reps * (nights - first) / YEAR
        print(f"{label:58s} {sum(total) / years:5.2f} a project-year ({sum(total)} in {reps})", flush=True)

    rate("1 stream", 1)
    rate("1 stream, rises", 1, direction="up")
    rate("1 stream, 5 a night, 90 %", 1, n=5, p=0.9)
    rate("1 stream, 50 a night, 99 %", 1, p=0.99)
    rate("1 stream, no scores on weekends", 1, gaps=True)
    rate("1 stream, rate doubled on night 84", 1, n=np.where(np.arange(LEARNED + YEAR) < 84, 25, 50))
    rate("1 stream, rate halved on night 84", 1, n=np.where(np.arange(LEARNED + YEAR) < 84, 50, 25))
    rate("1 stream, eight weeks from night 14 on", 1, nights=56, first=14)
    reps = max(reps // 8, 5)
    rate("8 streams of 20 a night", 8, n=20)
    rate("8 streams of 20, 2 allowed, eight weeks from night 14 on", 8, 56, 14, n=20, false_alarms_per_year=2.0)
    rate("40 streams of 20 a night, 2 allowed", 40, n=20, false_alarms_per_year=2.0)


def delay_in_one_of_eight(reps: int, rng: np.random.Generator) -> None:
    """20 points in a segment of 12 a night, among seven of 50: nights to its finding, and whether it came first."""
    delays, right = [], 0
    for _ in range(reps):
        drop = np.repeat([0.85, 0.65], [CHANGE, 28])
        streams = [simulated(rng, CHANGE + 28, p, n) for p, n in [(drop, 12)] + [(0.85, 50)] * 7]
        first = [next((night for night, _ in alarms(*nights, CHANGE, streams=8)), 10**6) for nights in streams]
        delays.append(first[0] - CHANGE + 1)
        right += first[0] <= min(first[1:])
    print(f"20 points in 12 a night, 8 streams: median {np.median(delays):.0f} nights, right first {right / reps:.0%}")


def microseconds(rng: np.random.Generator) -> None:
    for nights in (30, 60, 200, 400):
        n, s = simulated(rng, nights)
        best = min(timeit.repeat(partial(scan, n, s, s), number=200, repeat=50)) / 200
        print(f"{nights} nights: {best * 1e6:.0f} µs a call")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=100, help="histories a row")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    microseconds(np.random.default_rng(chosen.seed))
    delay_in_one_of_eight(chosen.reps, np.random.default_rng(chosen.seed))
    false_alarms(chosen.reps, np.random.default_rng(chosen.seed))
