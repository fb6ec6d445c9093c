"""A second, stronger judge where the first is in doubt: one verdict counts, both are kept, and both are paid for."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.support.cascade import (
    BIG,
    PRICED,
    PRICES,
    RUNS,
    UNSURE,
    TwoJudges,
    account,
    aggregates,
    cell,
    cost,
    drain,
    job,
    score,
)
from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    assert_reconciles,
    nightly,
    rows,
    states,
    wait_is_over,
)
from tests.support.trends import trend_points as trends
from worker.demo.judge.server import MODEL, Answer, completion, refused
from worker.errors import SettingsError
from worker.jobs import judge_loop
from worker.jobs.processor import JobProcessor
from worker.project.project import Project
from worker.queries.explain import explain
from worker.queries.report.gather import ReportRequest, gather
from worker.store.results import cells, escalations
from worker.store.runs import runs

Says = Callable[[str, str], Answer]


@pytest.fixture
def judges(installation: Installation, tmp_path: Path) -> TwoJudges:
    return TwoJudges(installation, tmp_path)


def told(project: Project, case: str) -> Any:
    """The decision of the judge about a run."""
    with project.store.read() as connection:
        ((pk, one),) = runs.find_runs(connection, case, None)
    return next(decision for decision in explain(project, pk, one).decisions if decision.scorer == "task_completion")


def test_the_second_verdict_counts_and_the_first_is_kept_beside_it(judges: TwoJudges) -> None:
    project = judges.drawn()
    assert nightly(project, [MONDAY]).still_open == 0
    assert states(project) == {"scored": RUNS}
    assert sorted(case for model, case in judges.asked if model == BIG) == list(UNSURE)
    assert judges.calls(MODEL) == RUNS
    production, beside = aggregates(project, "production"), aggregates(project, "escalation")
    assert {score.value for score in production.values()} == {1.0}
    assert {case: score.model_requested for case, score in production.items()} == {
        f"case-{number}": BIG if f"case-{number}" in UNSURE else MODEL for number in range(RUNS)
    }
    assert set(beside) == set(UNSURE)
    assert {(score.value, score.model_requested, score.evidence_ok) for score in beside.values()} == {
        (0.0, MODEL, False)
    }
    for case in UNSURE:
        assert production[case].cost_usd == pytest.approx(10 * beside[case].cost_usd, rel=0.05), "each its own price"
    criteria = rows(
        project, select(func.count()).where(score.c.purpose == "escalation", score.c.criterion.is_not(None))
    )
    assert criteria == [(3 * len(UNSURE),)]
    assert account(project).spent_usd == pytest.approx(cost(project)) == pytest.approx(judges.paid_usd)
    ((means,),) = rows(project, select(func.sum(cell.c.s)).where(cell.c.criterion == "outcome"))
    assert means == RUNS, "only what counts is summed"
    (point,) = [
        trend
        for trend in trends(project, by="task_type", scorer="task_completion", task_type="refund", weeks=1)
        if trend["criterion"] is None
    ]
    assert (point["mean"], point["scored"], point["sampled"]) == (1.0, RUNS, RUNS)
    assert_reconciles(project)


def test_the_story_of_a_run_and_the_figures_of_the_cascade(judges: TwoJudges) -> None:
    judges.instead = lambda model, case: (
        completion("prose", prompt="x" * 400, model=BIG) if case == "case-3" and model == BIG else None
    )
    project = judges.drawn()
    nightly(project, [MONDAY])
    one = told(project, "case-1")
    assert one.value == 1.0
    first_usd = aggregates(project, "escalation")["case-1"].cost_usd
    said = f"first judge {MODEL} (${first_usd:.4f}): fail, escalated to {BIG} (failed evidence): pass"
    assert one.reason.startswith(said + f"; judge {BIG}; ")
    assert one.details["escalation"]["why"] == ["failed_evidence"]
    assert [one.details["escalation"][which]["label"] for which in ("first", "second")] == ["fail", "pass"]
    lost = told(project, "case-3")
    assert lost.value == 0.0
    assert f"escalated to {BIG} (failed evidence): unscored (parse), so that the first verdict counts" in lost.reason
    assert "escalat" not in told(project, "case-0").reason
    with project.store.read() as connection:
        (found,) = escalations.escalations(connection, MONDAY, MONDAY)
    assert (found.first, found.second, found.judged, found.escalated) == (MODEL, BIG, RUNS, 3)
    assert (found.compared, found.agreed) == (2, 0)
    beside, production = aggregates(project, "escalation"), aggregates(project, "production")
    assert found.first_usd == pytest.approx(
        sum(beside[case].cost_usd for case in ("case-1", "case-2")) + production["case-3"].cost_usd
    )
    assert found.second_usd == pytest.approx(
        sum(production[case].cost_usd for case in ("case-1", "case-2")) + beside["case-3"].cost_usd
    )
    judged = gather(project, ReportRequest(MONDAY, MONDAY), datetime.now(UTC)).sampled.judged
    assert {judge.model: judge.verdicts for judge in judged} == {MODEL: RUNS, BIG: 3}
    assert sum(judge.cost_usd for judge in judged) == pytest.approx(cost(project))


def test_the_most_that_a_run_can_cost_is_reserved_for_both_judges(judges: TwoJudges) -> None:
    project = judges.project()
    ((_, scorer),) = [pair for pair in project.scorers.register() if pair[0].lane == "judge"]
    first, second = scorer.max_tokens
    most = project.prices.max_usd(scorer)
    assert most is not None
    assert (first.model, second.model) == (MODEL, BIG)
    assert most == pytest.approx(11 * (first.input_tokens * 1.0 + first.output_tokens * 4.0) / 1e6)
    capped = PLAIN + f'budget_usd_per_day = {2.5 * most}\nunknown_price = "refuse"\n' + PRICES
    drawn = judges.drawn(capped)
    seen = []

    def look() -> bool:
        seen.append(account(drawn))
        return False

    with JobProcessor(drawn) as processor:
        processor.drain("judge", stop=look)
    assert max(balance.reserved_usd for balance in seen) == pytest.approx(2 * most)
    assert max(balance.spent_usd + balance.reserved_usd for balance in seen) <= 2.5 * most + 1e-9
    assert account(drawn).reserved_usd == pytest.approx(0, abs=1e-9)
    assert account(drawn).spent_usd == pytest.approx(cost(drawn))
    half = PRICED.replace(PRICES, PRICES.partition(f'[judge.prices."{BIG}"]')[0])
    unpriced = judges.project(half.replace("concurrency = 8", "concurrency = 8\nbudget_usd_per_day = 1.0"))
    with pytest.raises(SettingsError, match=f"price of '{BIG}' is unknown"):
        unpriced.prices.check()


def test_a_second_judge_that_is_down_costs_no_attempt_and_the_first_is_not_paid_again(judges: TwoJudges) -> None:
    judges.instead = lambda model, case: refused(503, "overloaded") if model == BIG else None
    project = judges.drawn()
    done = drain(project)
    assert done.settled == RUNS - len(UNSURE), "the others are scored"
    assert done.outage
    open_jobs = rows(project, select(job.c.state, job.c.attempt).where(job.c.lane == "judge", job.c.state != "scored"))
    assert open_jobs == [("queued", 0)] * len(UNSURE)
    spent = account(project).spent_usd
    assert spent == pytest.approx(judges.paid_usd), "all first calls are booked"
    assert spent > cost(project)
    for _ in range(3):
        wait_is_over(project)
        drain(project)
    assert judges.calls(MODEL) == RUNS, "what the first said is kept"
    assert account(project).spent_usd == pytest.approx(spent)
    judges.instead = lambda model, case: None
    wait_is_over(project)
    assert nightly(project, [MONDAY]).still_open == 0
    assert states(project) == {"scored": RUNS}
    assert judges.calls(MODEL) == RUNS
    assert {aggregates(project, "production")[case].model_requested for case in UNSURE} == {BIG}
    assert account(project).spent_usd == pytest.approx(judges.paid_usd)
    assert_reconciles(project)


def test_without_kept_answers_every_try_is_booked_and_the_cap_holds(
    judges: TwoJudges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_loop, "_BACKOFF_S", 0.01)
    judges.instead = lambda model, case: refused(503, "overloaded") if model == BIG else None
    free = judges.project()
    ((_, scorer),) = [pair for pair in free.scorers.register() if pair[0].lane == "judge"]
    most = free.prices.max_usd(scorer)
    assert most is not None
    cap = 1.05 * most
    project = judges.drawn(PLAIN + f"answers_days = 0\nbudget_usd_per_day = {cap}\n" + PRICES)
    for _ in range(40):
        drain(project)
        wait_is_over(project)
        seen = account(project)
        assert seen.spent_usd + seen.reserved_usd <= cap + 1e-9
        if not states(project)["queued"]:
            break
    assert judges.calls(MODEL) >= 3
    assert states(project)["shed"] > 0, "a job that cannot be paid any more does not hold up the others for ever"
    assert account(project).reserved_usd == pytest.approx(0, abs=1e-9)
    assert account(project).spent_usd == pytest.approx(judges.paid_usd)
    assert_reconciles(project, pending=RUNS)


def test_a_second_judge_that_never_answers_about_one_run_leaves_it_the_first_verdict(judges: TwoJudges) -> None:
    judges.instead = lambda model, case: refused(500, "boom") if (model, case) == (BIG, "case-2") else None
    project = judges.drawn(PRICED.replace("heuristics", "max_attempts = 2\nheuristics"))
    for _ in range(2):
        drain(project)
        wait_is_over(project)
    assert states(project) == {"scored": RUNS}
    production = aggregates(project, "production")
    assert (production["case-2"].value, production["case-2"].model_requested) == (0.0, MODEL)
    assert production["case-1"].model_requested == BIG
    assert set(aggregates(project, "escalation")) == {"case-1", "case-3"}
    assert judges.calls(MODEL) == RUNS
    assert account(project).spent_usd == pytest.approx(judges.paid_usd)
    assert cost(project) < judges.paid_usd, "the first call about it was booked with its first try"


def test_a_second_judge_that_is_unknown_is_told_and_the_first_is_not_paid_again(judges: TwoJudges) -> None:
    judges.instead = lambda model, case: (
        refused(404, f"no model {BIG}", code="model_not_found") if model == BIG else None
    )
    project = judges.drawn()
    for _ in range(4):
        done = drain(project)
        assert done.refused is not None
        assert f"does not know model '{BIG}'" in done.refused
    assert judges.calls(MODEL) <= RUNS + 1, "a call that a stop cut off may be asked again"
    with project.store.write() as connection:
        connection.execute(update(job).where(job.c.state == "queued").values(not_before=None))
    judges.instead = lambda model, case: None
    assert nightly(project, [MONDAY]).still_open == 0
    assert states(project) == {"scored": RUNS}
    with project.store.read() as connection:
        assert cells.uncompared_nights(connection) == []
