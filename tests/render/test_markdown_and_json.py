"""Markdown that fits a ticket and makes nothing of an agent's words; JSON whose shape is a promise."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from markdown_it import MarkdownIt

from tests.support.history import HOSTILE, NOW, Made, document, make, night
from worker.core.report.model import OutsideName
from worker.queries.report.gather import ReportRequest, gather
from worker.render import json as report_json
from worker.render import markdown as report_markdown
from worker.store.engine import Store

NASTY = (
    HOSTILE,
    "![x](http://evil.example/a.png)",
    "[click](http://evil.example) | a | b",
    "`` `code` ``",
    "@everyone **bold** <!-- x -->",
    "line\nbreak\r\n# heading",
)


def kinds(markdown: str) -> set[str]:
    """Every kind of token that a CommonMark reader with tables finds, inline ones included."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    found = {token.type for token in tokens}
    return found | {child.type for token in tokens for child in token.children or ()}


def test_a_ticket_holds_sentences_findings_a_table_and_five_runs(made: Made) -> None:
    report = gather(made.project, ReportRequest(), NOW)
    text = report_markdown.render(report)
    assert text.startswith("**Spotcheck, week 2026-W47**\n")
    for sentence in report.sentences:
        assert "".join(f"`{piece}`" if isinstance(piece, OutsideName) else piece for piece in sentence) in text
    assert {"table_open", "bullet_list_open", "code_inline"} <= kinds(text)
    assert len(text) < 6_000
    assert text.count("\n| `") == 2
    assert len(re.findall(r"^- `(refund|faq)-", text, re.MULTILINE)) == 5
    for change in report.changes:
        opening = "(" if change.part_of is None else "; "
        assert f"{opening}finding {change.drift.finding_id}" in text


def test_what_an_agent_wrote_makes_no_link_picture_heading_or_html(fresh: Store) -> None:
    documents = [
        document(f"{name}-{number}"[:500], night(number), task_type=name[:200], agent_version=name)
        for name in NASTY
        for number in range(3)
    ]
    made = make(fresh, documents, lambda scorer, run_id: 0.0)
    text = report_markdown.render(gather(made.project, ReportRequest(), NOW))
    allowed = {"html_inline", "html_block", "link_open", "image", "heading_open", "fence", "code_block", "hr"}
    assert not allowed & kinds(text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 1 + len(NASTY)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}, "no name breaks a row"


def test_names_stay_readable_as_code() -> None:
    assert report_markdown.code("refund") == "`refund`"
    assert report_markdown.code("a``b") == "``` a``b ```"
    assert report_markdown.code("x" * 100) == "`" + "x" * 59 + "…`"
    assert report_markdown.code("a\nb\x1b") == "`a b`"


def test_an_empty_store_is_a_short_message(fresh: Store) -> None:
    text = report_markdown.render(gather(make(fresh, []).project, ReportRequest(), NOW))
    assert text == "**Spotcheck, no runs yet**\n\n- No runs yet: take some in with spotcheck ingest.\n"


def shape(value: Any) -> Any:
    """The keys of an answer, to the leaves; of a list the keys that all its items have."""
    if isinstance(value, Mapping):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        shapes = [shape(inner) for inner in value]
        return [shapes[0]] if shapes and isinstance(shapes[0], dict) else []
    return None


def keys(names: str) -> dict[str, None]:
    return dict.fromkeys(names.split())


FIGURE = keys("n value low high total")
CONTRAST = keys("kind name task_type bad_with n_with bad_without n_without p_corrected")
POINT = keys("week scorer_version population sampled scored unscored coverage mean low high raw_mean")
FINDING = keys(
    "finding_id kind direction before after window_nights window_hours scored z chance_per_year since found_night state"
    " is_new text nights_later has_stayed part_of series_ended bad_means compared_runs compared_facts"
)
RUN = keys("run_id source task_type status agent_version score unscored") | {
    "scores": [keys("scorer scorer_version criterion value reason rationale")]
}
COUNTS = keys(
    "scorer scorer_version ended filtered before_start sampled_out scored unscored failed shed pending coverage"
)
SHAPE: dict[str, Any] = {
    "window": keys("since until label nights runs nights_over") | {"weeks": []},
    "task_type": None,
    "sentences": [],
    "series_changes": [],
    "primary": None,
    "primary_series": None,
    "streams": [
        keys("task_type scorer rubric state nights scorer_version")
        | {"points": [POINT], "marks": [keys("night kind text why")]}
    ],
    "findings": [
        FINDING
        | {
            "stream": keys("task_type scorer scorer_version criterion"),
            "level": keys("n mean low high"),
            "level_later": keys("n mean low high"),
            "differs": [CONTRAST],
            "worst": [keys("run_id source figure")],
        }
    ],
    "alerts": [],
    "cost": [
        {
            "task_type": None,
            "window": {"runs": None, "cost_usd": FIGURE, "errors": FIGURE, "aborts": FIGURE, "steps": FIGURE},
            "weeks": [{"week": None, "cost_usd": FIGURE, "errors": FIGURE, "aborts": FIGURE, "steps": FIGURE}],
            "tools": [{"tool": None, "weeks": [FIGURE | {"week": None}]}],
        }
    ],
    "outcomes": [
        keys("task_type runs completed aborted errored incomplete judged good good_low good_high poor"),
    ],
    "common": keys("runs bad compared_facts") | {"found": [CONTRAST], "nearest": CONTRAST},
    "reading": {"worst_by": None, "random": [RUN], "worst": [RUN]},
    "sampled": {
        "reconciles": None,
        "scorers": [COUNTS | {"reasons": []}],
        "judges": [keys("model verdicts priced cost_usd input_tokens output_tokens")],
        "smallest_drop": [keys("task_type drop nights")],
        "no_smallest_drop": [keys("task_type reason")],
        "false_alarms_per_year": None,
    },
    "made_at": None,
    "store": None,
    "time_zone": None,
    "version": None,
}


def test_the_shape_of_the_json_is_as_documented(made: Made) -> None:
    answer = report_json.as_json(gather(made.project, ReportRequest(), NOW))
    for stream in answer["streams"]:  # told where there are some
        if stream["marks"]:
            answer["streams"].insert(0, stream)
            break
    for finding in answer["findings"]:
        if finding["differs"]:
            answer["findings"].insert(0, finding)
            break
    found = shape(answer)
    found["common"]["nearest"] = found["common"]["nearest"] or CONTRAST
    assert found == SHAPE
    told = report_json.__doc__ or ""
    for name in set(_names(SHAPE)):
        assert f'"{name}"' in told, f"{name} is not documented"


def _names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {name for inner in value.values() for name in _names(inner)}
    return {name for inner in value for name in _names(inner)} if isinstance(value, list) else set()


def test_every_answer_is_json_and_has_all_the_keys(made: Made, fresh: Store) -> None:
    empty = report_json.as_json(gather(make(fresh, []).project, ReportRequest(), NOW))
    full = report_json.as_json(gather(made.project, ReportRequest(), NOW))
    assert set(empty) == set(full) == set(SHAPE)
    assert orjson.loads(orjson.dumps(full))["findings"][0]["kind"] in ("agent", "tool", "cost", "errors")
    outcomes = {outcome["task_type"]: outcome for outcome in full["outcomes"]}
    for outcome in outcomes.values():
        parts = (
            outcome["good"]
            + outcome["poor"]
            + (outcome["aborted"] + outcome["errored"] + outcome["incomplete"]) / outcome["runs"]
        )
        assert abs(parts - 1) < 1e-9
        assert outcome["good_low"] <= outcome["good"] <= outcome["good_high"]
