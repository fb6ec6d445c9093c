from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.support.ledger import (
    LEASE_S,
    NIGHT,
    NOW,
    Ledger,
    at_once,
    given_up,
    heuristic,
    incoming,
    judge,
    outcome,
    row,
    small_run,
)
from worker.store.engine import Store
from worker.store.queue import backlog, enrol, handover, leases, settling
from worker.store.queue.backlog import Backlog
from worker.store.queue.enrol import Registered
from worker.store.queue.job import Job
from worker.store.runs import draws

EXPIRED = NOW + timedelta(seconds=LEASE_S + 1)


def drawn(store: Store, count: int) -> tuple[Ledger, list[Registered], list[str]]:
    """A night of so many drawn runs for one scorer."""
    ledger = Ledger(store)
    ids = ledger.add_runs(count)
    scorers = ledger.register(heuristic())
    ledger.draw(scorers)
    return ledger, scorers, ids


def waiting(ledger: Ledger, **when: timedelta) -> Backlog:
    with ledger.store.read() as connection:
        return backlog.lane_backlog(connection, NOW + when.get("after", timedelta()), "heuristic")


def test_jobs_are_claimed_oldest_night_first_then_by_place_then_a_runs_scorers_together(store: Store) -> None:
    ledger = Ledger(store)
    scorers = ledger.register(heuristic("b"), heuristic("a"))
    today = ledger.add_runs(3)
    ledger.draw(scorers)
    yesterday = ledger.add_runs(2, night=NIGHT - timedelta(1))
    ledger.draw(scorers, night=NIGHT - timedelta(1))
    claimed = ledger.claim(scorers).jobs
    assert ledger.ids(claimed) == [run_id for run_id in (*yesterday, *today) for _ in scorers]
    assert [claimed_job.scorer_pk for claimed_job in claimed] == [scorer.pk for scorer in scorers] * 5


def test_place_is_by_key_over_threshold_so_that_all_strata_shrink_alike(store: Store) -> None:
    ledger = Ledger(store)
    ledger.take([incoming(small_run("common"), key=0.04), incoming(small_run("rare", task_type="rare"), key=0.3)])
    scorers = ledger.register(heuristic())
    with store.write() as connection:
        for stratum, threshold in (("refund", 0.05), ("rare", 0.9)):
            connection.execute(
                draws.draw.insert().values(
                    night=NIGHT, task_type=stratum, flagged=False, seq=1, population=1, threshold=threshold,
                    rate=threshold, drawn=1, why="rate", drawn_at=NOW, is_current=True,
                )
            )  # fmt: skip
        draws.add_samples(connection, NIGHT, NOW)
        enrol.enqueue(connection, NIGHT, scorers, NOW)
    assert ledger.ids(ledger.claim(scorers).jobs) == ["rare", "common"]


def test_a_claim_takes_no_more_than_its_limit_and_the_next_goes_on_from_there(store: Store) -> None:
    ledger, scorers, ids = drawn(store, 7)
    assert ledger.ids(ledger.claim(scorers, limit=3).jobs) == ids[:3]
    assert ledger.ids(ledger.claim(scorers, limit=3, owner="other").jobs) == ids[3:6]
    assert ledger.claim(scorers, limit=0).jobs == []
    assert ledger.ids(ledger.claim(scorers, limit=3).jobs) == ids[6:]
    assert ledger.claim(scorers).jobs == []


def test_a_claim_takes_only_its_lane_and_its_scorers(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(2)
    fast, other, slow = ledger.register(heuristic("a"), heuristic("b"), judge())
    ledger.draw([fast, other, slow])
    assert {job.scorer_pk for job in ledger.claim([fast, slow], lane="heuristic").jobs} == {fast.pk}
    assert {job.scorer_pk for job in ledger.claim([slow]).jobs} == {slow.pk}
    assert ledger.states() == {"leased": 4, "queued": 2}


def test_a_job_is_not_claimed_before_its_time(store: Store) -> None:
    ledger, scorers, ids = drawn(store, 2)
    first, _ = ledger.claim(scorers).jobs
    assert ledger.retry([first], NOW + timedelta(seconds=20)) == 1
    assert ledger.claim(scorers, now=NOW + timedelta(seconds=19)).jobs == []
    (again,) = ledger.claim(scorers, now=NOW + timedelta(seconds=20)).jobs
    assert (ledger.ids([again]), again.attempt) == (ids[:1], 2)


def test_a_lease_that_ran_out_is_taken_over_by_the_next_claim(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    lost = ledger.claim(scorers, owner="dead").jobs
    assert ledger.claim(scorers, now=NOW + timedelta(seconds=LEASE_S)).jobs == []
    taken = ledger.claim(scorers, now=EXPIRED).jobs
    assert [(job.pk, job.attempt) for job in taken] == [(job.pk, 2) for job in lost]


def test_a_renewed_lease_is_not_taken_over(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    held, let_go = ledger.claim(scorers, owner="me").jobs
    with store.write() as connection:
        assert leases.renew(connection, [held], "me", EXPIRED, LEASE_S) == 1
        assert leases.renew(connection, [held], "other", EXPIRED, LEASE_S) == 0
        assert leases.renew(connection, [], "me", EXPIRED, LEASE_S) == 0
    assert [job.pk for job in ledger.claim(scorers, owner="other", now=EXPIRED).jobs] == [let_go.pk]


@pytest.mark.parametrize("same_owner", [False, True], ids=["another worker", "the same worker"])
def test_a_worker_that_was_taken_over_can_do_nothing_to_the_job(store: Store, same_owner: bool) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (stale,) = ledger.claim(scorers, owner="me").jobs
    (fresh,) = ledger.claim(scorers, owner="me" if same_owner else "other", now=EXPIRED).jobs
    assert ledger.settle([outcome(stale, 0.0)]) == 0
    assert ledger.retry([stale], NOW) == 0
    assert ledger.give_back([stale]) == 0
    assert (ledger.states(), ledger.scores()) == ({"leased": 1}, [])
    assert ledger.settle([outcome(fresh, 1.0)], owner="me" if same_owner else "other") == 1
    assert [score.value for score in ledger.scores()] == [1.0]


def test_a_stale_outcome_beside_a_fresh_one_of_the_same_job_does_not_count(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (stale,) = ledger.claim(scorers).jobs
    (fresh,) = ledger.claim(scorers, now=EXPIRED).jobs
    assert ledger.settle([outcome(stale, None), outcome(fresh, 1.0)]) == 1
    assert ledger.states() == {"scored": 1}
    assert [(score.outcome, score.value) for score in ledger.scores()] == [("scored", 1.0)]


def test_an_outcome_given_twice_at_once_counts_once(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (one,) = ledger.claim(scorers).jobs
    assert ledger.settle([outcome(one), outcome(one)]) == 1
    assert len(ledger.scores()) == 1


def test_somebody_else_cannot_settle_my_job(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (mine,) = ledger.claim(scorers).jobs
    assert ledger.settle([outcome(mine)], owner="other") == 0
    assert ledger.retry([mine], NOW, owner="other") == 0
    assert ledger.give_back([mine], owner="other") == 0
    assert ledger.states() == {"leased": 1}


def test_a_lease_that_ran_out_but_was_not_taken_over_may_still_be_settled(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    assert ledger.settle([outcome(job) for job in ledger.claim(scorers).jobs], now=EXPIRED) == 1


def test_settling_stores_every_score_once_and_settling_again_does_nothing(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 3)
    done = [
        outcome(job, value, criteria=("tone",))
        for job, value in zip(ledger.claim(scorers).jobs, (1, 0, None), strict=True)
    ]
    assert ledger.settle(done) == 3
    before = ledger.scores()
    assert ledger.settle([outcome(settled.job, 0.5, criteria=("tone",)) for settled in done]) == 0
    assert ledger.scores() == before
    assert len(before) == 6
    assert {row.created_at for row in before} == {NOW}
    assert ledger.states() == {"scored": 2, "unscored": 1}
    assert [job.reason for job in ledger.jobs()] == [None, None, "refusal"]
    assert all(job.resolved_at == NOW and job.lease_owner is None for job in ledger.jobs())


def test_a_job_that_is_given_up_has_no_score(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    ledger.settle([given_up(job) for job in ledger.claim(scorers).jobs])
    assert (ledger.states(), ledger.scores()) == ({"failed": 1}, [])


def test_texts_that_a_database_cannot_hold_do_not_stop_an_outcome(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 2)
    first, second = ledger.claim(scorers).jobs
    odd_text: Any = "a\0b\ud800"
    texts = dict.fromkeys(("reason", "label", "rationale", "model_served", "fingerprint"), odd_text)
    odd = [{"quote": "a\0b\ud800"}]
    done = settling.Settled(first, "scored", "a\0b\ud800", 0.0, [row(first, **texts, evidence=odd)])
    assert ledger.settle([done]) == 1
    assert ledger.retry([second], NOW, reason="429 \0 \udfff") == 1
    (stored,) = ledger.scores()
    assert [stored._mapping[name] for name in texts] == ["a\ufffdb\ufffd"] * 5
    assert stored.evidence == odd
    assert [job.reason for job in ledger.jobs()] == ["a\ufffdb\ufffd", "429 \ufffd \ufffd"]


def test_giving_back_returns_the_attempt(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    for _ in range(5):
        (mine,) = ledger.claim(scorers, max_attempts=2).jobs
        assert mine.attempt == 1
        assert ledger.give_back([mine]) == 1
    assert ledger.states() == {"queued": 1}
    assert ledger.give_back([]) == 0


def test_what_was_given_back_cannot_be_settled(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    (mine,) = ledger.claim(scorers).jobs
    ledger.give_back([mine])
    assert ledger.settle([outcome(mine)]) == 0
    assert ledger.scores() == []


def test_a_job_whose_workers_die_is_given_up_after_the_most_attempts(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 1)
    now = NOW
    for attempt in (1, 2, 3):
        (lost,) = ledger.claim(scorers, now=now, max_attempts=3).jobs
        assert lost.attempt == attempt
        now += timedelta(seconds=LEASE_S + 1)
    assert ledger.claim(scorers, now=now, max_attempts=3).jobs == []
    (job,) = ledger.jobs()
    assert (job.state, job.reason, job.resolved_at) == ("failed", "worker_lost", now)
    assert ledger.settle([outcome(lost._replace(attempt=2))]) == 0


def test_queueing_again_adds_nothing_and_touches_nothing(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 4)
    ledger.settle([outcome(job) for job in ledger.claim(scorers, limit=2).jobs])
    before = ledger.jobs()
    with store.write() as connection:
        assert enrol.enqueue(connection, NIGHT, scorers, EXPIRED) == 0
    assert ledger.jobs() == before


def test_waiting_tells_what_is_due_what_waits_and_what_is_in_hand(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 6)
    assert waiting(ledger) == Backlog(due=6, later=0, leased=0, oldest_at=NOW, next_at=None)
    taken = ledger.claim(scorers, limit=3).jobs
    ledger.retry(taken[:1], NOW + timedelta(seconds=30))
    assert waiting(ledger) == Backlog(3, 1, 2, NOW, NOW + timedelta(seconds=30))
    assert waiting(ledger, after=timedelta(seconds=30)) == Backlog(4, 0, 2, NOW, None)
    assert waiting(ledger, after=timedelta(seconds=LEASE_S + 1)) == Backlog(6, 0, 0, NOW, None), "leases ran out"
    ledger.settle([outcome(job) for job in taken[1:]])
    assert waiting(ledger).leased == 0
    with store.read() as connection:
        assert backlog.lane_backlog(connection, NOW, "judge") == Backlog(0, 0, 0, None, None)
        before = NIGHT - timedelta(1)
        assert backlog.lane_backlog(connection, NOW, "heuristic", (before, before)).due == 0
        assert backlog.lane_backlog(connection, NOW, "heuristic", (before, NIGHT)).due == 3


def change_judge(ledger: Ledger, new: Registered) -> int:
    """Another version is active, and nobody can make the old one."""
    with ledger.store.write() as connection:
        lost = {entry.pk for entry in enrol.registered(connection)}
        return handover.supersede(connection, NIGHT, [new], NOW, lost)


def test_a_changed_judge_leaves_open_jobs_to_the_version_that_they_were_enrolled_with(store: Store) -> None:
    ledger = Ledger(store)
    ids = ledger.add_runs(6)
    (old,) = ledger.register(judge())
    ledger.draw([old])
    (new,) = ledger.register(judge(version="2"))
    with store.write() as connection:
        assert handover.is_up_to_date(connection, NIGHT, [new])
        assert handover.nights_with_retired_jobs(connection, [new]) == []
        assert handover.supersede(connection, NIGHT, [new], NOW) == 0
    assert ledger.ids(ledger.claim([old]).jobs) == ids


def test_a_lost_judge_hands_over_what_is_open_and_the_new_one_looks_at_the_whole_sample(store: Store) -> None:
    ledger = Ledger(store)
    ids = ledger.add_runs(6)
    (old,) = ledger.register(judge())
    ledger.draw([old])
    first, second, *_ = ledger.claim([old], limit=2).jobs
    ledger.settle([outcome(first)])
    (new,) = ledger.register(judge(version="2"))
    assert change_judge(ledger, new) == 4
    assert change_judge(ledger, new) == 0
    reasons = Counter((job.scorer_pk, job.state, job.reason) for job in ledger.jobs())
    assert reasons == {
        (old.pk, "scored", None): 1,
        (old.pk, "leased", None): 1,
        (old.pk, "shed", "superseded"): 4,
        (new.pk, "queued", None): 6,
    }
    assert ledger.settle([outcome(second)]) == 1, "a call in flight still counts"
    assert ledger.ids(ledger.claim([new]).jobs) == ids
    assert all(count.reconciles for count in ledger.all_counts([new]))


def test_a_changed_judge_leaves_a_finished_night_alone(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(2)
    (old,) = ledger.register(judge())
    ledger.draw([old])
    ledger.settle([outcome(job) for job in ledger.claim([old]).jobs])
    (new,) = ledger.register(judge(version="2"))
    assert change_judge(ledger, new) == 0
    assert ledger.states() == {"scored": 2}


def test_a_judge_that_is_changed_back_takes_its_jobs_up_again(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(3)
    old, new = ledger.register(judge(), judge(version="2"))
    ledger.draw([old])
    change_judge(ledger, new)
    change_judge(ledger, old)
    assert len(ledger.claim([old]).jobs) == 3
    assert Counter((job.scorer_pk, job.state) for job in ledger.jobs()) == {
        (old.pk, "leased"): 3,
        (new.pk, "shed"): 3,
    }


class Worker:
    """Claims and settles until nothing is left, and remembers what it got."""

    def __init__(self, scorers: Sequence[Registered], limit: int) -> None:
        self.scorers, self.limit = scorers, limit
        self.got: list[Job] = []

    def __call__(self, ledger: Ledger, owner: str) -> None:
        while jobs := ledger.claim(self.scorers, limit=self.limit, owner=owner).jobs:
            self.got.extend(jobs)
            assert ledger.settle([outcome(job) for job in jobs], owner=owner) == len(jobs)


def test_workers_that_claim_at_once_never_get_the_same_job(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 300)
    worker = Worker(scorers, limit=7)
    at_once(store, 4, worker)
    assert len(worker.got) == len({job.pk for job in worker.got}) == 300
    assert {job.attempt for job in worker.got} == {1}
    assert ledger.states() == {"scored": 300}
    assert len(ledger.scores()) == 300


def test_leases_that_ran_out_are_taken_over_by_one_worker_each(store: Store) -> None:
    ledger, scorers, _ = drawn(store, 100)
    ledger.claim(scorers, owner="dead", now=NOW - timedelta(seconds=LEASE_S + 1))
    worker = Worker(scorers, limit=7)
    at_once(store, 4, worker)
    assert Counter(job.pk for job in worker.got).most_common(1)[0][1] == 1
    assert [job.attempt for job in worker.got] == [2] * 100
