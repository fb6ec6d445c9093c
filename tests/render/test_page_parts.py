"""Parts of the page: what is sorted says by what, every line has its label, nothing is left out without a word."""

import re
from datetime import UTC, date, datetime
from typing import Any

from tests.support.history import NOW, Made, document, make, night
from tests.support.html_page import check
from worker.cli.views import report as report_text
from worker.core.report.model import Change, Mark, StreamChart, UntestedStream, WeekPoint
from worker.queries.report.gather import ReportRequest, gather
from worker.render import charts as report_charts
from worker.render import html as report_html
from worker.render import json as report_json
from worker.render import markdown as report_markdown
from worker.store.engine import Store

WEEKS = tuple(f"2026-W{week}" for week in range(40, 48))


def panel(*marks: Mark) -> str:
    point = WeekPoint("2026-W47", "1", 400, 40, 40, 0, 0.9, 0.85, 0.95)
    stream = StreamChart("refund", "quality", True, (point,), marks, 40, "tested")
    return str(report_charts.panel(stream, WEEKS, report_charts.axis_of([stream]), "refund"))


def boxes(svg: str) -> list[tuple[float, float, int, str]]:
    found = re.findall(r'<text class="\w+-label" x="([\d.]+)" y="(-?\d+)">([^<]*)</text>', svg)
    return [(float(x), float(x) + 6 * len(text), int(y), text) for x, y, text in found]


def test_every_version_has_its_label_and_no_two_lie_on_each_other() -> None:
    marks = [Mark(date(2026, 11, 9 + day), "version", f"0.{day}.0") for day in range(6)]
    svg = panel(*marks, Mark(date(2026, 11, 12), "finding", "7"), Mark(date(2026, 11, 13), "finding", "8"))
    found = boxes(svg)
    assert {text for *_, text in found} == {*(f"0.{day}.0" for day in range(6)), "▼ 7", "▼ 8"}
    for place, (start, end, y, text) in enumerate(found):
        for begin, last, row, other in found[:place]:
            assert row != y or end < begin or last < start, (text, other)
    box = re.search(r'viewBox="0 (-?\d+) 320 (\d+)"', svg)
    assert box is not None
    assert min(y for *_, y, _ in found) - 9 >= int(box[1])
    assert int(box[1]) + int(box[2]) == 152


def test_a_picture_with_room_is_as_high_as_ever() -> None:
    svg = panel(Mark(date(2026, 10, 7), "version", "3.2.0"), Mark(date(2026, 11, 4), "version", "3.3.0"))
    assert 'viewBox="0 0 320 152"' in svg
    assert {y for *_, y, _ in boxes(svg)} == {20}


def test_tools_stand_in_the_order_of_a_column_that_is_shown(fresh: Store) -> None:
    """One failed run of one is no reason to lead: what surely failed most does."""
    failing = {"often": (60, 30), "once": (1, 1), "seldom": (40, 2)}
    documents = [
        document(
            f"r-{number}",
            night(number % 3),
            steps=[
                {
                    "kind": "tool",
                    "name": name,
                    "arguments": {},
                    "result": "x",
                    "error": "no such order" if number < failed else None,
                }
                for name, (used, failed) in failing.items()
                if number < used
            ],
        )
        for number in range(60)
    ]
    html = report_html.render(gather(make(fresh, documents).project, ReportRequest(), NOW))
    table = html[html.index('aria-label="Tool failures"') :]
    table = table[: table.index("</table>")]
    assert 'aria-sort="descending">failed, at least ▾</th>' in table
    shown = [float(figure) for figure in re.findall(r'data-name="failed, at least">([\d.]+)', table)]
    assert len(shown) == 3
    assert shown == sorted(shown, reverse=True)
    assert re.findall(r"<bdi>(\w+)</bdi><small>", table)[0] == "often"


def test_a_cost_is_not_explained_by_the_tokens_that_were_paid_for(fresh: Store) -> None:
    def documents() -> Any:
        for back in range(35):
            for number in range(30):
                is_dear = back < 6 and number % 10 < 8
                tokens = 4_000 + number if is_dear else 1_000 + number
                yield document(
                    f"r-{back:02}-{number}",
                    night(back),
                    input_tokens=tokens,
                    cost_usd=tokens / 100_000,
                    agent_version="2.0" if back < 6 else "1.0",
                )

    report = gather(make(fresh, documents()).project, ReportRequest(), NOW)
    cost: Change = next(change for change in report.changes if change.drift.stream.scorer == "cost_per_run")
    assert [(contrast.kind, contrast.name) for contrast in cost.differs.found] == [("agent version", "2.0")]


def test_a_task_type_without_a_smallest_drop_is_named_with_the_reason(made: Made) -> None:
    report = gather(made.project, ReportRequest(), NOW)
    number = next(
        change.drift.finding_id for change in report.changes if change.drift.stream[:2] == ("refund", report.primary)
    )
    untold = {stream.task_type: stream.reason for stream in report.sampled.untold}
    assert untold.pop("refund") == f"finding {number}"
    assert set(untold) == {None}
    assert {stream.task_type for stream in report.sampled.sensitivity} == {"faq"}
    words = check(report_html.render(report)).words
    assert f"refund (finding {number})" in words
    assert "overall (" in words


def test_a_young_stream_is_called_young(fresh: Store) -> None:
    report = gather(make(fresh, [document("r-1")]).project, ReportRequest(), NOW)
    assert report.sampled.untold == (UntestedStream("refund", "too young to test"),)
    assert "no drop yet; not said for refund (too young to test)" in check(report_html.render(report)).words


def test_a_week_that_still_runs_says_so_in_every_form(fresh: Store) -> None:
    made = make(fresh, [document(f"r-{back}", night(back)) for back in range(4, 7)])
    wednesday = datetime(2026, 11, 18, 6, 0, tzinfo=UTC)
    report = gather(made.project, ReportRequest(), wednesday)
    assert report.window is not None
    assert (report.window.nights, report.window.nights_over) == (3, 2)
    assert "week 2026-W47 (2 of 7 nights so far)" in "".join(report.sentences[0])
    words = check(report_html.render(report)).words
    assert "still running: 2 of 7 nights so far" in words
    assert "2026-W47 is not over: its points are of 2 of 7 nights so far" in words
    assert "2026-W47, 2 of 7 nights so far: $0.060 in all" in words
    assert report_markdown.render(report).startswith("**Spotcheck, week 2026-W47 (2 of 7 nights so far)**")
    assert "; 2 of 7 nights so far" in " ".join(report_text.lines(report, 80))
    assert report_json.as_json(report)["window"]["nights_over"] == 2


def test_a_week_that_is_over_says_nothing_and_other_windows_count_their_own_nights(made: Made) -> None:
    over = gather(made.project, ReportRequest(), NOW)
    assert over.window is not None
    assert over.window.nights_over is None
    assert "so far" not in report_html.render(over)
    some = gather(made.project, ReportRequest(night(2), night(-1)), NOW)
    assert some.window is not None
    assert some.window.so_far == "3 of 4 nights so far"
    assert some.window.week_so_far == "", "its points are those of the whole week"
