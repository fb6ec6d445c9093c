"""The size of a finding in the report: the level of all nights since, by the same estimators, in all four forms."""

from datetime import date
from typing import Any

import pytest

from tests.support.history import NOW, Made, document, make, night
from tests.support.report_history import _runs, _verdict
from tests.support.report_story import change, stream, told
from worker.cli.views import report as report_text
from worker.core.report.formatting import percent
from worker.core.report.model import Change, LevelSince, Report
from worker.core.report.story import headline, persistence, raised_by
from worker.pipeline.operations import watch
from worker.queries.report.gather import ReportRequest, gather
from worker.queries.report.since import MEASURES
from worker.records import Estimate
from worker.render import html as report_html
from worker.render import json as report_json
from worker.render import markdown as report_markdown
from worker.store.engine import Store
from worker.store.results import findings

NOTHING_LATER = Estimate(None, None, None, 0, 0.0)


def found(report: Report, task_type: str, scorer: str) -> Change:
    return next(
        change
        for change in report.changes
        if change.drift.stream[:2] == (task_type, scorer) and change.drift.state != "recovered"
    )


def day_of(run: dict[str, Any]) -> date:
    return date.fromisoformat(run["ended_at"][:10])


def of(one: Change) -> list[dict[str, Any]]:
    """The runs of the stream from the first night of the finding on."""
    return [run for run in _runs() if run["task_type"] == one.drift.stream.task_type and day_of(run) >= one.drift.since]


def level(mean: float, n: int = 640, margin: float = 0.04) -> Estimate:
    return Estimate(mean, mean - margin, mean + margin, n, float(n))


def since(mean: float, nights: int = 26, later: float | None = None, **over: Any) -> Change:
    """The stranger's finding: 93 % to 53 % on one night of 25 runs, and a level of all nights since."""
    plain = change(**{"before": 0.93, "after": 0.53, "window_nights": 1, "scored": 25, "chance_per_year": 0.8} | over)
    after = level(mean if later is None else later) if nights else NOTHING_LATER
    return plain._replace(since=LevelSince(level(mean), after, nights))


def words(one: Change) -> str:
    return "".join(headline(one, "quality"))


def test_the_size_is_that_of_all_nights_since_and_the_window_is_small_print(made: Made) -> None:
    """Every run is drawn here, so the estimate is a plain mean, made anew from the verdicts."""
    report = gather(made.project, ReportRequest(), NOW)
    one = found(report, "refund", "task_completion")
    own = [run for run in of(one) if run["status"] == "completed"]  # the rubric looks at no other
    verdicts = [float(_verdict("task_completion", run["run_id"])) for run in own]
    assert one.since is not None
    assert one.since.whole.n == len(verdicts)
    assert one.since.whole.mean == pytest.approx(sum(verdicts) / len(verdicts))
    assert one.since.nights == (night(0) - one.drift.found_night).days
    assert one.since.later.n == sum(day_of(run) > one.drift.found_night for run in own)
    mean, low, high = one.since.whole.mean, one.since.whole.low, one.since.whole.high
    assert mean is not None
    assert low is not None
    assert high is not None
    assert low < mean < high
    later = one.since.later
    assert (later.high or 0.0) - (later.low or 0.0) > high - low, "that of all runs is narrow: each of them was scored"
    size = f"to {percent(mean, digits=0)} [{percent(low, digits=0)[:-2]}–{percent(high, digits=0)}] since"
    for form in forms(report):
        assert size in form
        assert raised_by(one) in form
        assert f"n {len(verdicts)}" in form


def forms(report: Report) -> list[str]:
    """The sentences and findings as page, ticket, terminal and JSON, on one line each."""
    answer = report_json.as_json(report)
    made = [
        report_html.render(report),
        report_markdown.render(report).replace("`", ""),
        "\n".join(report_text.lines(report, 80)),
        "\n".join(answer["sentences"]),
    ]
    return [" ".join(part.replace("<bdi>", "").replace("</bdi>", "").split()) for part in made]


def test_what_is_stored_stays_as_it_was_found(made: Made) -> None:
    report = gather(made.project, ReportRequest(), NOW)
    with made.store.read() as connection:
        stored = findings.list_findings(connection, everything=True)
    assert [change.drift for change in report.changes] == stored
    for drift, told_one in zip(stored, report_json.as_json(report)["findings"], strict=True):
        assert (told_one["before"], told_one["after"], told_one["scored"]) == (drift.before, drift.after, drift.scored)


def test_tools_and_cost_are_read_off_all_runs_since(made: Made) -> None:
    report = gather(made.project, ReportRequest(), NOW)
    tool = found(report, "faq", "tool_failure:look_up")
    own = of(tool)
    failed = sum("error" in run["steps"][0] for run in own)
    assert tool.since is not None
    assert tool.since.whole.n == len(own)
    assert tool.since.whole.mean == pytest.approx(failed / len(own))
    cost = found(report, "refund", "cost_per_run")
    dear = [float(run["cost_usd"]) for run in of(cost)]
    assert cost.since is not None
    assert cost.since.whole.mean == pytest.approx(sum(dear) / len(dear))
    assert cost.has_stayed is True


def test_the_report_of_an_earlier_week_knows_only_its_own_nights(made: Made) -> None:
    one = found(gather(made.project, ReportRequest(), NOW), "refund", "task_completion")
    until = one.drift.found_night
    earlier = found(gather(made.project, ReportRequest(until=until), NOW), "refund", "task_completion")
    assert earlier.since is not None
    assert earlier.since.nights == 0
    own = [run for run in of(one) if run["status"] == "completed" and day_of(run) <= until]
    assert earlier.since.whole.n == len(own)
    assert earlier.has_stayed is None


def test_the_overall_line_is_held_at_its_mix(fresh: Store) -> None:
    """Both task types fall alike while the traffic of one doubles: the raw mean would move with it."""
    documents = [
        document(f"{task}-{back:02}-{number}", night(back), task_type=task)
        for back in range(40)
        for task, count in (("faq", 30 if back < 8 else 10), ("refund", 10))
        for number in range(count)
    ]

    def verdict(scorer: str, run_id: str) -> float:
        task, back, number = run_id.split("-")
        bad = {"faq": 0.1, "refund": 0.3}[task] + (0.4 if int(back) < 8 else 0.0)
        return float(scorer == "answer_present" or (int(number) % 10 + 0.5) / 10 > bad)

    made = make(fresh, documents, verdict)
    report = gather(made.project, ReportRequest(), NOW)
    overall = next(change for change in report.changes if change.drift.stream.task_type is None)
    assert overall.since is not None
    assert overall.drift.since == night(7)
    assert overall.since.whole.mean == pytest.approx((0.5 + 0.3) / 2, abs=0.001), "the raw mean is 0.45"


def test_the_strangers_headline() -> None:
    assert told(since(0.75))[0] == (
        "Quality of refund fell from 93 % to 75 % [71–79 %] since Tue 10 Nov (n 640; found on one night: 53 %, n 25; "
        "weak evidence, chance alone: once a year, and it has stayed: 75 % over the 26 nights since)."
    )


def test_nothing_is_repeated_where_the_window_is_all_there_is() -> None:
    alone = since(0.53, nights=0)
    assert raised_by(alone) == ""
    assert persistence(alone) == ""
    assert words(alone).endswith("fell from 93 % to 53 % [49–57 %]")


@pytest.mark.parametrize(
    ("one", "has_stayed"),
    [
        (since(0.75), True),
        (since(0.75, nights=2), None),
        (since(0.75, later=0.90), False),
        (since(0.89, later=0.88), False),
        (since(0.88, after=0.80), None),
        (since(0.86, after=0.80), True),
        (change(), None),
    ],
    ids=["clearly", "two nights", "the old level is within", "most is made up for", "unclear", "clear", "not known"],
)
def test_it_has_stayed_only_where_the_nights_after_the_alarm_show_it(one: Change, has_stayed: bool | None) -> None:
    assert one.has_stayed is has_stayed
    assert ("it has stayed" in persistence(one)) is (has_stayed is True)
    assert ("do not show it" in persistence(one)) is (has_stayed is False)


def test_a_level_on_the_other_side_is_no_size() -> None:
    assert words(since(0.95)).endswith("fell from 93 % to 53 %")
    assert "but the 26 nights since do not show it: 95 % [91–99 %]" in told(since(0.95))[0]


def test_a_rise_is_told_the_same_way() -> None:
    dear = change("cost_per_run", before=0.02, after=0.05, direction="up", scored=30)
    levels = LevelSince(Estimate(0.031, 0.029, 0.033, 900, 900.0), Estimate(0.030, 0.028, 0.032, 870, 870.0), 12)
    assert words(dear._replace(since=levels)) == "Cost per run of refund rose from $0.020 to $0.031 [$0.029–$0.033]"
    assert dear._replace(since=levels).has_stayed is True


def test_what_has_recovered_keeps_the_size_it_was_found_with(made: Made) -> None:
    with made.store.write() as connection:
        for finding in findings.list_findings(connection):
            findings.set_state(connection, finding.finding_id or 0, "recovered", NOW)
    report = gather(made.project, ReportRequest(), NOW)
    assert report.changes
    assert {change.since for change in report.changes} == {None}


def test_the_newest_week_stands_beside_only_where_it_is_other_than_all_nights_since() -> None:
    assert "W47" not in told(since(0.75), streams=(stream(mean=0.77),))[0]
    assert "; W47: 92 % [87–97 %], n 40)." in told(since(0.75), streams=(stream(mean=0.92),))[0]


def test_every_watched_stream_is_known_by_its_measure() -> None:
    assert {what.scorer: measure for measure, what in watch._WATCHED.items()} == MEASURES
