"""The hourly scan on streams where nothing changes, and how soon it sees what does.

    python -m bench.drift.hours [--years 16]

Fits `drift.HOURS.rate_log`: false alarms a stream-year at several thresholds, as log(rate) + .482 z². Then the delay of
a failure rate that rises at noon, at the threshold of a project with 30 streams and two false alarms a year.
"""

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.core.drift import alerting, scan, season

Floats = NDArray[np.float64]
HOURS = scan.HOURS
THRESHOLDS = (3.6, 3.9, 4.2, 4.5, 4.8)
LEARNED_DAYS = 16
HALF_YEAR_DAYS = 182
STREAMS, ALLOWED = 30, 2.0


class Case(NamedTuple):
    """A stream: runs a day, failures among them, how both move, and how much failures come in clusters."""

    name: str
    runs: float
    rate: float
    wave: float = 0.0
    """Relative amplitude of the failure rate over the day."""
    cluster: float = 0.0
    """Intra-hour correlation of failures."""
    weekend: float = 1.0


CASES = (
    Case("300 a day, 3 %", 300, 0.03),
    Case("300 a day, 3 %, wave ±50 %", 300, 0.03, 0.5),
    Case("2,000 a day, 3 %, wave ±50 %", 2_000, 0.03, 0.5),
    Case("40 a day, 5 %, wave ±30 %", 40, 0.05, 0.3),
    Case("300 a day, 5 %, wave ±30 %, clusters .02", 300, 0.05, 0.3, 0.02),
    Case("2,000 a day, 5 %, wave ±30 %, clusters .005, weekends +20 %", 2_000, 0.05, 0.3, 0.005, 1.2),
)


def stream(rng: np.random.Generator, case: Case, hours: int) -> tuple[Floats, Floats, Floats]:
    """Runs, the chance that one fails, and the failures of each hour."""
    hour, day = np.arange(hours) % 24, np.arange(hours) // 24
    is_weekend = day % 7 >= 5
    busy = 1 + 0.8 * np.sin((hour - 8) / 24 * 2 * np.pi)
    n = rng.poisson(case.runs / 24 * busy * np.where(is_weekend, 0.4, 1.0))
    rate = case.rate * (1 + case.wave * np.sin((hour - 3) / 24 * 2 * np.pi)) * np.where(is_weekend, case.weekend, 1.0)
    if case.cluster:
        rate = rng.beta(rate / case.cluster, (1 - rate) / case.cluster)
    return n.astype(float), rate, rng.binomial(n, rate).astype(float)


def look(n: Floats, s: Floats, streams: float, allowed: float) -> scan.Finding | None:
    """One look at the newest hour, as `pipeline.operations.watch` does it."""
    n, s = n[-HOURS.reach :], s[-HOURS.reach :]
    hours = np.arange(len(n)) % 24
    settled = len(n) - HOURS.lag
    even = season.exposure(n, s, hours, season.profile(n[:settled], s[:settled], hours[:settled]))
    return scan.scan(even, s, s, streams=streams, false_alarms_per_year=allowed, direction="up", grid=HOURS)


def alarms(job: tuple[int, Case]) -> dict[float, int]:
    """False alarms of half a year at each threshold; a week of silence after each."""
    seed, case = job
    hours = 24 * (HALF_YEAR_DAYS + LEARNED_DAYS)
    n, _, s = stream(np.random.default_rng(seed), case, hours)
    counts, silent = dict.fromkeys(THRESHOLDS, 0), dict.fromkeys(THRESHOLDS, -1)
    for hour in range(24 * LEARNED_DAYS, hours, 1):
        finding = look(n[:hour], s[:hour], 1, 364)
        for z in THRESHOLDS:
            if finding is not None and finding.z > z and hour > silent[z]:
                counts[z] += 1
                silent[z] = hour + 7 * 24
    return counts


def delay(job: tuple[int, Case, float]) -> int:
    """Hours until a failure rate of so many times the usual is found; 49 when not within two days."""
    seed, case, times = job
    hours = 24 * 30
    rng = np.random.default_rng(seed)
    n, rate, s = stream(rng, case, hours)
    begin = hours - 48 + 12
    s[begin:] = rng.binomial(n[begin:].astype(int), np.minimum(rate[begin:] * times, 0.98))
    for hour in range(begin + 1, hours + 1):
        if look(n[:hour], s[:hour], STREAMS / alerting.HOURLY_SHARE, ALLOWED) is not None:
            return hour - begin
    return 49


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=16)
    years = parser.parse_args().years
    h = scan.threshold(STREAMS / alerting.HOURLY_SHARE, ALLOWED, HOURS)
    print(f"rate_log in use {HOURS.rate_log}; threshold with {STREAMS} streams at {ALLOWED:g} a year: {h:.2f}")
    with ProcessPoolExecutor() as pool:
        print("false alarms a stream-year (and log rate + .482 z²) by z " + " ".join(f"{z:>13}" for z in THRESHOLDS))
        for case in CASES:
            found = list(pool.map(alarms, [(1000 + seed, case) for seed in range(2 * years)]))
            rates = {z: sum(each[z] for each in found) / years for z in THRESHOLDS}
            told = (
                f"{r:5.2f} ({math.log(r) + 0.482 * z * z:5.2f})" if r else " 0.00        " for z, r in rates.items()
            )
            print(f"{case.name:<58}" + " ".join(told), flush=True)
        print("hours until found, median and 90th percentile of 40 (noon of a weekday or weekend)")
        for case in (CASES[0], CASES[2], CASES[4]):
            for times in (3, 10):
                hours = sorted(pool.map(delay, [(2000 + seed, case, times) for seed in range(40)]))
                print(f"{case.name:<58} rate ×{times:<3} {hours[19]:>3} / {hours[35]:>3}", flush=True)


if __name__ == "__main__":
    main()
