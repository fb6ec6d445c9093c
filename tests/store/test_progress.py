"""What is open, by scorer: the same figures as the ledger's own; and outcomes by reason."""

from datetime import datetime, timedelta

from tests.support.ledger import LEASE_S, NIGHT, NOW, Ledger, given_up, heuristic, judge, outcome
from worker.store.engine import Store
from worker.store.queue import backlog, progress
from worker.store.queue.progress import OpenJobs

LATER = NOW + timedelta(seconds=LEASE_S - 1)
GONE = NOW + timedelta(seconds=LEASE_S + 1)


def open_jobs(store: Store, at: datetime) -> list[OpenJobs]:
    with store.read() as connection:
        return progress.open_jobs(connection, at)


def test_jobs_are_counted_by_scorer_and_add_up_to_the_lane(store: Store) -> None:
    ledger = Ledger(store)
    one, other, rule = ledger.register(judge("one"), judge("other"), heuristic())
    ledger.add_runs(10)
    ledger.draw([one, other, rule])
    leased = ledger.claim([one], limit=4).jobs
    ledger.retry(leased[:1], NOW + timedelta(hours=1))
    ledger.settle([outcome(leased[1])])
    assert open_jobs(store, LATER) == [
        OpenJobs(one.pk, "judge", 6, 1, 2, 0, NOW, NOW + timedelta(hours=1)),
        OpenJobs(other.pk, "judge", 10, 0, 0, 0, NOW, None),
        OpenJobs(rule.pk, "heuristic", 10, 0, 0, 0, NOW, None),
    ]
    for at in (LATER, GONE, NOW + timedelta(hours=2)):
        found = open_jobs(store, at)
        with store.read() as connection:
            for lane in ("judge", "heuristic"):
                assert progress.total_backlog([job for job in found if job.lane == lane]) == backlog.lane_backlog(
                    connection, at, lane
                )
    assert [job.lost for job in open_jobs(store, GONE)] == [2, 0, 0]


def test_nothing_is_open_in_an_empty_ledger(store: Store) -> None:
    assert open_jobs(store, NOW) == []
    assert progress.total_backlog([]) == backlog.Backlog(0, 0, 0, None, None)


def test_outcomes_are_told_by_the_first_words_of_their_reason(store: Store) -> None:
    ledger = Ledger(store)
    (scorer,) = ledger.register(judge())
    ledger.add_runs(6)
    ledger.draw([scorer])
    jobs = ledger.claim([scorer], limit=5).jobs
    scored, unscored, lost, broken, also = jobs
    settled = [outcome(scored), outcome(unscored, None), given_up(lost)._replace(reason="worker_lost")]
    settled += [given_up(broken)._replace(reason="scorer_error: KeyError: 'a'")]
    settled += [given_up(also)._replace(reason="scorer_error: KeyError: 'b'")]
    ledger.settle(settled)
    with store.read() as connection:
        found = progress.outcomes(connection, NIGHT)
        assert progress.outcomes(connection, NIGHT + timedelta(days=1)) == []
    assert {(group.state, group.reason, group.jobs) for group in found} == {
        ("scored", None, 1),
        ("unscored", "refusal", 1),
        ("failed", "worker_lost", 1),
        ("failed", "scorer_error", 2),
        ("queued", None, 1),
    }
    assert {(job.scorer_pk, job.lane) for job in found} == {(scorer.pk, "judge")}
