"""How many jobs a turn claims at a time."""

import pytest

from worker.jobs.judge_loop import claim_size

CASES = {
    # wanted calls, calls a job, fewest, in flight, concurrency -> jobs
    "nothing is under way, and all slots are free": ((100, 1, 20, 0, 100), 100),
    "a few slots are free: left for the next claim": ((10, 1, 20, 90, 100), 0),
    "a few slots are free, and nothing else is under way": ((10, 1, 20, 0, 100), 10),
    "enough slots are free": ((20, 1, 20, 80, 100), 20),
    "no slot is free": ((0, 1, 1, 100, 100), 0),
    "more is looked up than wanted": ((-5, 1, 1, 10, 100), 0),
    "more is looked up than wanted, and nothing is under way": ((-5, 1, 1, 0, 100), 0),
    "a job makes three calls: rounded up, or one slot would stay free": ((10, 3, 1, 5, 100), 4),
    "one call is wanted of jobs that make five": ((1, 5, 1, 5, 100), 1),
    "refused calls wait beside those under way: twice as many jobs and 16": ((100, 1, 20, 150, 100), 66),
    "more jobs than that are never held": ((100, 1, 1, 216, 100), 0),
    "even where nothing else bounds them": ((1_000, 1, 1, 0, 100), 216),
    "one call at a time": ((1, 1, 1, 0, 1), 1),
}


@pytest.mark.parametrize(("numbers", "jobs"), CASES.values(), ids=CASES.keys())
def test_a_claim_takes_what_calls_are_wanted_for_and_leaves_crumbs(numbers: tuple[int, ...], jobs: int) -> None:
    wanted_calls, calls_per_job, fewest, in_flight, concurrency = numbers
    size = claim_size(wanted_calls, calls_per_job, fewest=fewest, in_flight=in_flight, concurrency=concurrency)
    assert size == jobs
