"""One cause that gave several findings is told once, and nothing that is open hides."""

from datetime import date
from typing import Any

import pytest

from tests.support.history import NOW, Made, document, make, night
from tests.support.report_story import change, told
from worker.cli.views import report as report_text
from worker.core.report.causes import group_changes, lead_changes
from worker.core.report.model import Change
from worker.core.report.story import also_seen_in
from worker.queries.report.gather import ReportRequest, gather
from worker.records import Stream
from worker.render import html as report_html
from worker.render import json as report_json
from worker.render import markdown as report_markdown
from worker.store.engine import Store


def numbered(number: int, task_type: str | None = "refund", criterion: str | None = None, **over: Any) -> Change:
    return change(stream=Stream(task_type, over.pop("scorer", "quality"), "1", criterion), finding_id=number, **over)


@pytest.mark.parametrize(
    ("second", "is_part"),
    [
        (numbered(2, None, z=9.0), True),
        (numbered(2, "refund", "polite"), True),
        (numbered(2, None, found_night=date(2026, 11, 18)), True),
        (numbered(2, "faq"), False),
        (numbered(2, None, scorer="groundedness"), False),
        (numbered(2, None, before=0.7, after=0.9), False),
        (numbered(2, None, since=date(2026, 11, 17), found_night=date(2026, 11, 18)), False),
        (numbered(2, None, "polite"), False),
    ],
    ids=["overall", "criterion", "nights later", "other task", "other scorer", "rise", "other nights", "other line"],
)
def test_only_what_one_cause_may_have_given_is_told_together(second: Change, is_part: bool) -> None:
    first, part = group_changes([numbered(1), second])
    assert first.part_of is None
    assert part.part_of == (1 if is_part else None)
    assert len(lead_changes([first, part])) == (1 if is_part else 2)


def test_what_is_open_leads() -> None:
    over, still = group_changes([numbered(1, state="recovered"), numbered(2, None)])
    assert (over.part_of, still.part_of) == (None, None)
    first, second = group_changes([numbered(1, "refund", "polite"), numbered(2, "refund", state="recovered")])
    assert (first.part_of, second.part_of) == (None, 1)


def test_a_part_is_named_with_its_size_and_not_counted_as_one_more() -> None:
    changes = group_changes([numbered(1), numbered(2, None, before=0.9, after=0.84, state="muted")])
    assert "".join(also_seen_in(changes[0], changes)) == "all task types (90 % to 84 %; finding 2, muted)"
    assert also_seen_in(changes[1], changes) == ()
    assert not any("more finding" in line for line in told(*changes))
    criteria = group_changes([numbered(1), numbered(2, "refund", "polite"), numbered(3, None)])
    said = "".join(also_seen_in(criteria[0], criteria))
    assert said == "polite (91 % to 72 %; finding 2), all task types (91 % to 72 %; finding 3)"


@pytest.fixture
def both(fresh: Store) -> Made:
    """A task type of most of the traffic falls, and the overall line with it."""
    documents = [
        document(f"{task}-{back:02}-{number}", night(back), task_type=task)
        for back in range(35)
        for task, count in (("refund", 30), ("faq", 5))
        for number in range(count)
    ]

    def verdict(scorer: str, run_id: str) -> float:
        task, back, number = run_id.split("-")
        bad = 3 if task == "refund" and int(back) < 6 else 1
        return float(scorer == "answer_present" or (int(number) + int(back)) % 5 >= bad)

    return make(fresh, documents, verdict)


def test_all_forms_tell_it_under_the_first(both: Made) -> None:
    report = gather(both.project, ReportRequest(), NOW)
    (lead,) = lead_changes(report.changes)
    assert lead.drift.stream.task_type == "refund"
    (part,) = [change for change in report.changes if change is not lead]
    assert part.drift.stream.task_type is None
    html = report_html.render(report)
    assert html.count('<article class="finding-card') == 1
    assert "Also seen in: all task types (" in html
    assert report_markdown.render(report).count("\n- Quality of `refund`") == 2, "a sentence and a finding"
    assert "  - also seen in: all task types (" in report_markdown.render(report)
    terminal = "\n".join(report_text.lines(report, 80))
    assert "also seen in: all task types (" in terminal
    assert f"[{part.drift.finding_id}]" not in terminal
    parts = {finding["finding_id"]: finding["part_of"] for finding in report_json.as_json(report)["findings"]}
    assert parts == {lead.drift.finding_id: None, part.drift.finding_id: lead.drift.finding_id}
