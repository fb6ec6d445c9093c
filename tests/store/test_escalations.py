from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.support.ledger import NIGHT, Ledger, judge, outcome, row
from worker.records import CACHED, RunFilter, ScorerKey
from worker.store.engine import Store
from worker.store.queue.enrol import Registered
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled
from worker.store.results import escalations, scores

SPEC = {"model": "small", "escalate": {"when": ["unknown"], "to": "big", "below": 0.8, "required": []}}


def cascade(name: str = "task_completion", version: str = "1") -> tuple[ScorerKey, RunFilter]:
    key = ScorerKey(name=name, version=version, kind="judge", fingerprint=f"c{version}{name}", spec=SPEC)
    return key, RunFilter()


def said(one: Job, model: str, label: str | None, cost_usd: float | None, **over: Any) -> Mapping[str, Any]:
    """The aggregate of one judge; a label of None is unscored."""
    value = None if label is None else float(label == "pass")
    more = {"label": label, "model_requested": model, "service_tier": None} | over
    return row(one, value=value, cost_usd=cost_usd, **more)


def beside(one: Job, *rest: Any) -> Mapping[str, Any]:
    return said(one, *rest, purpose="escalation", score_id=f"{one.run_pk}/{one.scorer_pk}/beside")


def drawn(store: Store, count: int) -> tuple[Ledger, list[Registered], list[Job]]:
    ledger = Ledger(store)
    ledger.add_runs(count)
    scorers = ledger.register(cascade())
    ledger.draw(scorers)
    return ledger, scorers, ledger.claim(scorers).jobs


def asked(store: Store, since: int = 0) -> list[escalations.Escalations]:
    with store.read() as connection:
        return escalations.escalations(connection, NIGHT + timedelta(since), NIGHT + timedelta(since))


def test_a_store_without_a_second_judge_has_none(store: Store) -> None:
    ledger = Ledger(store)
    ledger.add_runs(2)
    scorers = ledger.register(judge())
    ledger.draw(scorers)
    ledger.settle([outcome(job) for job in ledger.claim(scorers).jobs])
    assert asked(store) == []


def test_rate_cost_and_agreement_of_both_judges(store: Store) -> None:
    ledger, scorers, jobs = drawn(store, 6)
    stories = [
        [said(jobs[0], "small", "pass", 0.01)],
        [said(jobs[1], "big", "fail", 0.2), beside(jobs[1], "small", "pass", 0.02)],
        [said(jobs[2], "big", "pass", 0.2), beside(jobs[2], "small", "pass", 0.02)],
        [said(jobs[3], "small", "fail", 0.04), beside(jobs[3], "big", None, 0.4)],  # the second could not be read
        [said(jobs[4], "big", "pass", None), beside(jobs[4], "small", None, 0.02)],
        [said(jobs[5], "small", None, None, model_requested=None)],  # by rule, or without an answer
    ]
    more = row(jobs[1], criterion="one", label="fail", model_requested="big", service_tier=None)
    more = {**more, "purpose": "escalation", "score_id": "more"}
    stories[1].append(more)  # a criterion is no run
    ledger.settle([Settled(job, "scored", None, 0.0, rows) for job, rows in zip(jobs, stories, strict=True)])
    (found,) = asked(store)
    assert found._replace(first_usd=round(found.first_usd, 9), second_usd=round(found.second_usd, 9)) == (
        scorers[0].pk, "task_completion", scorers[0].key.series, "small", "big", 5, 4, 0.1, 0.8, 2, 1
    )  # fmt: skip
    assert (found.rate, found.agreement) == (0.8, 0.5)
    assert asked(store, since=1) == []


def test_a_second_judge_that_was_never_needed_is_there_with_zeros(store: Store) -> None:
    ledger, _, jobs = drawn(store, 2)
    ledger.settle([Settled(job, "scored", None, 0.0, [said(job, "small", "pass", 0.01)]) for job in jobs])
    (found,) = asked(store)
    assert (found.judged, found.escalated, found.rate, found.agreement) == (2, 0, 0.0, None)
    assert (found.first_usd, found.second_usd) == (0.0, 0.0)


def test_a_verdict_that_does_not_count_is_in_no_count_and_no_estimate(store: Store) -> None:
    ledger, scorers, jobs = drawn(store, 4)
    ledger.settle(
        [
            Settled(job, "scored", None, 0.0, [said(job, "big", "pass", 0.2), beside(job, "small", "fail", 0.02)])
            for job in jobs
        ]
    )
    told = ledger.count(scorers)
    assert (told.scored, told.unscored, told.pending) == (4, 0, 0)
    with store.read() as connection:
        assert scores.judging_cost(connection, NIGHT, NIGHT) == pytest.approx(4 * 0.22)


def test_the_mean_cost_is_that_of_both_judges_and_leaves_kept_answers_out(store: Store) -> None:
    ledger, scorers, jobs = drawn(store, 4)
    cached = {"service_tier": CACHED}
    ledger.settle(
        [
            Settled(jobs[0], "scored", None, 0.0, [said(jobs[0], "small", "pass", 0.1)]),
            Settled(
                jobs[1],
                "scored",
                None,
                0.0,
                [said(jobs[1], "big", "pass", 0.4), beside(jobs[1], "small", "fail", 0.1)],
            ),
            Settled(jobs[2], "scored", None, 0.0, [said(jobs[2], "small", "pass", 0.0, **cached)]),
            Settled(jobs[3], "scored", None, 0.0, [said(jobs[3], "small", "pass", None)]),
        ]
    )
    with store.read() as connection:
        assert scores.mean_cost(connection, scorers[0].pk, {}) == pytest.approx(0.3)
        assert scores.mean_cost(connection, scorers[0].pk + 1, {}) is None
