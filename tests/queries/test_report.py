"""What a report is made of: at one moment, of bounded size, weighted as the sample was drawn, unscored never zero."""

import io
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, event, select

from tests.support import stores
from tests.support.history import LAST, NOW, TOML, Made, document, make, night, settings
from tests.support.report_history import DROPPED_SINCE
from worker.connectors.sources.jsonl import read
from worker.core.report.model import Report
from worker.pipeline.intake.take import take
from worker.project.project import Project
from worker.queries.report.gather import ReportRequest, gather
from worker.store.engine import Store
from worker.store.tables import DrawRow, RunRow, core

run, draw = core(RunRow), core(DrawRow)


def a_report(made: Made, **asked: Any) -> Report:
    return gather(made.project, ReportRequest(**asked), NOW)


def said(report: Report) -> list[str]:
    return ["".join(sentence) for sentence in report.sentences]


def test_the_newest_week_with_runs_is_the_default_and_what_happened_leads(made: Made) -> None:
    report = a_report(made)
    assert report.window is not None
    assert (report.window.label, report.window.since, report.window.until) == (
        "week 2026-W47",
        date(2026, 11, 16),
        LAST,
    )
    assert report.window.runs == 7 * 22
    assert len(report.window.weeks) == 7
    told = " ".join(said(report))
    assert "Quality of refund fell from" in told
    assert "chance alone" in told
    assert len(report.sentences) <= 3


def test_findings_say_what_differs_and_name_runs_that_are_bad(made: Made) -> None:
    report = a_report(made)
    quality = next(
        change
        for change in report.changes
        if change.drift.stream == ("refund", report.primary, "1", None)
        or (change.drift.stream.task_type == "refund" and change.drift.stream.scorer == report.primary)
    )
    assert quality.bad_means == "scored below 0.5"
    assert ("agent version", "2.0") in [(contrast.kind, contrast.name) for contrast in quality.differs.found]
    assert all(contrast.p < 0.05 for contrast in quality.differs.found)
    assert len(quality.worst) == 3
    assert all(ref.figure == 0.0 and int(ref.run_id.split("-")[1]) <= DROPPED_SINCE for ref in quality.worst)
    assert {change.drift.stream.scorer for change in report.changes} >= {"tool_failure:look_up", "cost_per_run"}


def test_a_finding_of_a_tool_reads_all_runs_and_names_those_where_it_failed(made: Made) -> None:
    tool = next(change for change in a_report(made).changes if change.drift.stream.scorer == "tool_failure:look_up")
    assert tool.drift.stream.task_type == "faq"
    assert tool.bad_means == "had a failed call of look_up"
    assert not {"status", "flag", "tool failed"} & {contrast.kind for contrast in tool.differs.found}
    assert all(int(ref.run_id.split("-")[1]) < 8 for ref in tool.worst)
    cost = next(change for change in a_report(made).changes if change.drift.stream.scorer == "cost_per_run")
    figures = [ref.figure or 0.0 for ref in cost.worst]
    assert figures == sorted(figures, reverse=True)


def test_marks_stand_at_the_first_night_of_a_version_that_is_not_the_first(made: Made) -> None:
    streams = {(stream.task_type, stream.scorer): stream for stream in a_report(made).streams}
    primary = a_report(made).primary or ""
    refund = streams["refund", primary]
    assert [(mark.kind, mark.text, mark.night) for mark in refund.marks if mark.kind == "version"] == [
        ("version", "2.0", night(DROPPED_SINCE))
    ]
    assert [mark.kind for mark in refund.marks].count("finding") >= 1
    assert streams["faq", primary].marks == ()
    assert streams[None, primary].newest is not None
    assert a_report(made).streams[0].scorer == primary, "rubrics come first"


def test_it_reads_in_one_transaction_and_writes_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made.project.scorers.all
    made.project.nights.start()
    begun: list[Connection] = []
    payloads: list[str] = []

    def on_begin(connection: Connection) -> None:
        begun.append(connection)

    def on_execute(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        assert statement.lstrip()[:6] in ("SELECT", "BEGIN"), statement
        if "payload" in statement:
            payloads.append(statement)

    event.listen(made.store.engine, "begin", on_begin)
    event.listen(made.store.engine, "before_cursor_execute", on_execute)
    monkeypatch.setattr(made.project.nights, "start", lambda: None)
    a_report(made)
    assert len(begun) == 1
    assert 0 < len(payloads) <= 20, "the texts of twenty runs, one at a time"


def test_the_random_ones_are_those_of_the_smallest_keys_and_the_worst_are_the_lowest(made: Made) -> None:
    report = a_report(made)
    assert report.window is not None
    with made.store.read() as connection:
        smallest = connection.execute(
            select(run.c.run_id).where(run.c.night >= report.window.since).order_by(run.c.sample_key).limit(10)
        ).scalars()
        assert [run.run_id for run in report.reading.random] == list(smallest)
    assert report == a_report(made), "the same ones every time"
    worst = report.reading.worst
    assert len(worst) == 10
    assert {run.value for run in worst} == {0.0}
    assert not {run.run_id for run in worst} & {run.run_id for run in report.reading.random}


def test_an_earlier_week_knows_nothing_of_what_was_found_later(made: Made) -> None:
    monday = date(2026, 10, 19)
    report = a_report(made, since=monday, until=monday + timedelta(days=6))
    assert report.window is not None
    assert report.window.label == "week 2026-W43"
    assert report.window.weeks[-1] == "2026-W43"
    assert report.changes == ()
    assert said(report)[0].startswith("Nothing changed beyond chance in week 2026-W43")
    assert all(point.week <= "2026-W43" for stream in report.streams for point in stream.points)


def test_one_task_type_alone(made: Made) -> None:
    report = a_report(made, task_type="faq")
    assert report.window is not None
    assert report.window.runs == 7 * 12
    assert {stream.task_type for stream in report.streams} == {"faq"}
    assert [group.task_type for group in report.groups] == ["faq"]
    assert {operation.task_type for operation in report.operations} == {"faq"}
    assert {run.task_type for run in (*report.reading.random, *report.reading.worst)} == {"faq"}
    assert {change.drift.stream.task_type for change in report.changes} <= {"faq"}


def test_the_counts_add_up_and_say_what_judging_cost(made: Made) -> None:
    sampled = a_report(made).sampled
    assert sampled.reconciles
    for tally in sampled.tallies:
        assert tally.ended == 7 * 22
        assert tally.ended == sum(tally[4:12])
    (judge,) = sampled.judged
    rubric = next(tally for tally in sampled.tallies if tally.is_rubric)
    assert (judge.model, judge.verdicts, judge.priced) == ("a-judge-0613", rubric.scored, rubric.scored)
    assert judge.cost_usd == pytest.approx(0.001 * rubric.scored)


def weighted(store: Store, values: dict[str, float]) -> float:
    """Good runs by hand: each scored run stands for one over its inclusion probability."""
    with store.read() as connection:
        rows = connection.execute(
            select(run.c.run_id, draw.c.threshold)
            .join(
                draw,
                (draw.c.night == run.c.night)
                & (draw.c.task_type == run.c.task_type)
                & (draw.c.flagged == run.c.flagged)
                & draw.c.is_current,
            )
            .where(run.c.status == "completed", run.c.sample_key < draw.c.threshold)
        ).all()
    total = sum(1 / row.threshold for row in rows)
    return float(sum(values[row.run_id] / row.threshold for row in rows) / total)


def test_good_is_weighted_back_from_unequal_rates(store: Store) -> None:
    """Flagged runs are drawn more often and are worse; counted as they were drawn they would look like the rule."""
    rng = random.Random(3)
    documents, values = [], {}
    for number in range(1_400):
        is_flagged = number % 5 == 0
        steps: list[dict[str, object]] = [
            {
                "kind": "tool",
                "name": "t",
                "arguments": {},
                "result": "x",
                "error": "no such order" if is_flagged else None,
            }
        ]
        run_id = f"r-{number}"
        documents.append(document(run_id, night(number % 7), steps=steps))
        values[run_id] = float(rng.random() < (0.3 if is_flagged else 0.9))
    toml = '[sampling]\nrate = 0.2\nflagged_rate = 0.9\n[scoring]\nheuristics = ["answer_present"]\n'
    made = make(store, documents, lambda scorer, run_id: values[run_id], toml=toml)
    (group,) = a_report(made).groups
    truth = sum(values.values()) / len(values)
    assert group.completed == 1_400
    assert group.good.mean == pytest.approx(weighted(store, values), abs=0.02), "ratio to N and to 1/p nearly agree"
    assert group.good.low is not None
    assert group.good.high is not None
    assert group.good.low < truth < group.good.high
    sample = list(values.values())
    assert abs(sum(sample) / len(sample) - truth) < 1e-9
    drawn = a_report(made).common
    assert drawn.bad / drawn.runs > 1 - truth + 0.08, "unweighted it would say that more are bad"


def test_groups_count_every_ended_run_once(fresh: Store) -> None:
    statuses = ["completed"] * 5 + ["aborted", "aborted", "errored", "incomplete"]
    documents = [document(f"r-{number}", status=status) for number, status in enumerate(statuses)]
    (group,) = a_report(
        make(fresh, documents, lambda scorer, run_id: float(run_id in ("r-0", "r-1", "r-2", "r-3")))
    ).groups
    assert (group.completed, group.aborted, group.errored, group.incomplete, group.runs) == (5, 2, 1, 1, 9)
    assert (group.good.mean, group.good.n) == (0.8, 5)


def test_unscored_is_no_zero_and_too_much_of_it_is_said(fresh: Store) -> None:
    documents = [document(f"r-{number}", night(number % 7)) for number in range(70)]
    made = make(fresh, documents, lambda scorer, run_id: "refusal" if int(run_id[2:]) >= 20 else 1.0)
    report = a_report(made)
    primary = [stream for stream in report.streams if stream.scorer == report.primary]
    assert [point.mean for stream in primary for point in stream.points] == [1.0]
    assert all(point.is_thin for stream in primary for point in stream.points)
    assert report.groups[0].good.mean == 1.0
    assert any("Only 29 % of 70 sampled runs have a score" in line and "refusal (50)" in line for line in said(report))
    tally = next(tally for tally in report.sampled.tallies if tally.is_rubric)
    assert tally.reasons == (("unscored", "refusal", 50),)


def test_without_a_judge_nothing_is_known_and_the_heuristics_rank_the_runs(fresh: Store) -> None:
    documents = [document(f"r-{number}", night(number % 7)) for number in range(40)]

    def verdict(scorer: str, run_id: str) -> float | str:
        if scorer == "answer_present":
            return 0.0 if run_id == "r-13" else 1.0
        return "no_judge_configured"

    report = a_report(make(fresh, documents, verdict, model=None))
    assert any("none of 40 sampled runs has a score" in line and "no judge configured" in line for line in said(report))
    assert report.groups[0].good.mean is None
    assert report.reading.worst_by == "heuristics"
    shown = [run.run_id for run in (*report.reading.worst, *report.reading.random)]
    assert "r-13" in shown
    assert len(report.reading.worst) <= 1, "perfect runs are not among the worst"
    assert report.common.runs == 0


def test_without_a_rubric_there_is_no_good_and_no_poor(fresh: Store) -> None:
    made = make(fresh, [document("r-1")], toml=TOML + "rubrics = []\n")
    report = a_report(made)
    assert report.primary is None
    assert report.groups[0].good.mean is None
    assert report.sampled.reconciles


def test_runs_that_nobody_has_drawn(fresh: Store) -> None:
    made = make(fresh, [])
    assert said(a_report(made)) == ["No runs yet: take some in with spotcheck ingest."]

    lines = io.BytesIO(orjson.dumps(document("r-1")))
    take(
        made.project, read(lines, now=NOW, limits=made.project.settings.intake), NOW, on_rejected=lambda rejected: None
    )
    report = a_report(made)
    assert report.streams == ()
    assert [run.unscored for run in report.reading.random] == ["not drawn into the sample"]
    assert report.sampled.reconciles
    assert {tally.before_start for tally in report.sampled.tallies} == {1}
    assert said(report)[0] == "Too early to test for a change in week 2026-W47: nothing has a score yet."


def test_one_run_and_one_night_are_a_report(fresh: Store) -> None:
    report = a_report(make(fresh, [document("r-1")]))
    assert said(report)[0] == "Too early to test for a change in week 2026-W47: 1 of 14 nights is learned."
    assert {stream.state for stream in report.streams} == {"young"}
    assert len(report.streams) == 2, "no overall line of one task type"
    assert len(report.reading.random) == 1
    alone = a_report(Made(Project(settings(fresh), fresh), fresh), since=LAST, until=LAST)
    assert alone.window is not None
    assert alone.window.label == f"the night {LAST}"


def test_a_week_without_runs_says_so(made: Made) -> None:
    report = a_report(made, since=date(2025, 1, 6), until=date(2025, 1, 12))
    assert said(report) == ["No run ended in week 2025-W02.", "There are runs from 2026-10-05 to 2026-11-22."]
    assert report.reading == ((), (), None)


def test_a_new_version_of_the_rubric_is_a_new_series_in_the_same_picture(fresh: Store) -> None:
    documents = [document(f"r-{number}", night(7 + number % 7)) for number in range(70)]
    made = make(fresh, documents)
    more = [document(f"n-{number}", night(number % 7)) for number in range(14)]
    again = make(fresh, more, model="another-judge")
    stream = next(stream for stream in a_report(again).streams if stream.is_rubric)
    assert len({point.series for point in stream.points}) == 2
    assert [mark.kind for mark in stream.marks] == ["series"]
    assert stream.state == "young", "a new series learns anew"
    assert made.store is again.store


def test_what_would_have_been_found_would_have_been(made: Made) -> None:
    """One point less is not found, and the drop itself is: by the scan, not by a formula."""
    report = a_report(made, since=date(2026, 10, 26), until=date(2026, 11, 1))
    assert report.sampled.sensitivity
    drops = {stream.task_type: stream.drop for stream in report.sampled.sensitivity}
    assert set(drops) == {None, "refund", "faq"}
    overall, refund = drops[None], drops["refund"]
    assert overall is not None
    assert refund is not None
    assert 0 < overall <= refund < 1
    assert any("would have been found" in line for line in said(report))


def test_sixty_task_types_and_names_from_anywhere(fresh: Store) -> None:
    names = ["<script>alert(1)</script>", "طلب استرداد", "🧾 quittung", *(f"type-{number}" for number in range(57))]
    documents = [
        document(f"r-{place}-{number}", night(number), task_type=name)
        for place, name in enumerate(names)
        for number in range(3)
    ]
    report = a_report(make(fresh, documents))
    assert len(report.groups) == 61
    assert {group.task_type for group in report.groups} == {None, *names}
    assert len([stream for stream in report.streams if stream.is_rubric]) == 61


@contextmanager
def counting(store: Store) -> Iterator[dict[str, int]]:
    counts: dict[str, int] = defaultdict(int)

    def on_execute(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        counts["statements"] += 1

    event.listen(store.engine, "before_cursor_execute", on_execute)
    yield counts
    event.remove(store.engine, "before_cursor_execute", on_execute)


def test_the_number_of_queries_does_not_grow_with_the_task_types(
    fresh: Store, sqlite_ready: Path, tmp_path: Path
) -> None:
    def statements(store: Store, types: int) -> int:
        documents = [
            document(f"r-{place}-{number}", night(number), task_type=f"type-{place}")
            for place in range(types)
            for number in range(20 // types + 1)
        ]
        made = make(store, documents)
        with counting(store) as counts:
            a_report(made)
        return counts["statements"]

    other = Store(stores.sqlite_copy(sqlite_ready, tmp_path))
    few, many = statements(fresh, 2), statements(other, 30)
    other.close()
    assert many <= few + 5
