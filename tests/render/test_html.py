"""The page: well formed, asks nobody for anything, and shows what an agent wrote as nothing but text."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.history import HOSTILE, NOW, TOML, Made, document, make, night
from tests.support.html_page import Page, check
from worker.core.report.formatting import percent
from worker.queries.report.gather import ReportRequest, gather
from worker.render import html as report_html
from worker.store.engine import Store

NAMES = (
    HOSTILE,
    '"><img src=x onerror=alert(2)>',
    "{{ 7*7 }}{% for %}",
    "طلب \u202eاسترداد",
    "🧾",
    "x" * 190,
    "a\x07b",
)


def page_of(made: Made, **asked: Any) -> Page:
    return check(report_html.render(gather(made.project, ReportRequest(**asked), NOW)))


def test_the_page_of_a_project_with_a_past(made: Made) -> None:
    page = page_of(made)
    report = gather(made.project, ReportRequest(), NOW)
    for sentence in report.sentences:
        assert "".join(sentence) in page.words
    headings = ["Findings", "Cost, errors and tools", "How the runs came out", "Runs to read"]
    assert all(heading in page.words for heading in headings)
    assert sum(tag == "details" and attributes.get("class") == "run" for tag, attributes in page.tags) == 20
    assert not any("open" in attributes for tag, attributes in page.tags if attributes.get("class") == "run")
    (overall,) = [group for group in report.groups if group.task_type is None]
    assert f"{overall.runs:,}" in page.words
    assert percent(overall.errored / overall.runs) in page.words
    assert "all task types" in page.words
    assert "Every ended run is accounted for" in page.words
    assert "2 a year are allowed" in page.words
    assert "uniform random subset" in page.words


def test_pictures_and_tables_can_be_read_without_seeing_them(made: Made) -> None:
    page = page_of(made)
    pictures = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert pictures
    assert all(
        re.search(r"by week: .*2026-W47: \d+ % \[\d+–\d+ %\], n \d", picture["aria-label"] or "")
        for picture in pictures
    )
    hidden = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") != "img"]
    assert all(element.get("aria-hidden") == "true" for element in hidden)
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.tags if tag == "th")
    boxes = [attributes for _, attributes in page.tags if attributes.get("class") == "scroll"]
    assert len(boxes) == sum(tag == "table" for tag, _ in page.tags), "every table scrolls in a box of its own"
    assert all(box.get("aria-label") and box.get("tabindex") == "0" for box in boxes)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_finding_is_marked_by_a_sign_and_not_only_by_colour(made: Made) -> None:
    html = report_html.render(gather(made.project, ReportRequest(), NOW))
    assert re.search(r'<text class="finding-label"[^>]*>▼ \d+</text>', html)
    assert "(finding)</span>" in html


def hostile_documents() -> Iterator[dict[str, Any]]:
    for place, name in enumerate(NAMES):
        step = {"kind": "tool", "name": name, "arguments": {name: name}, "result": name, "error": name}
        for number in range(3):
            yield document(
                f"{name}-{place}-{number}",
                night(number),
                task_type=name,
                agent=name,
                agent_version=f"{name}{number}"[:199],
                input=f"{name} & <b>bold</b> \u202e evil \x1b[2J",
                output=name * 3,
                error=name,
                status="errored" if number == 2 else "completed",
                steps=[step] * 14,
            )


def test_hostile_texts_and_names_are_only_shown(fresh: Store) -> None:
    made = make(fresh, hostile_documents(), lambda scorer, run_id: 0.0, rationale=f"{HOSTILE}{NAMES[1]}")
    html = report_html.render(gather(made.project, ReportRequest(), NOW))
    page = check(html)
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>bold" not in html
    assert HOSTILE in page.words
    assert NAMES[1] in page.words
    assert NAMES[2] in page.words, "a template of an agent stays text"
    assert "🧾" in page.words
    assert not set("\x07\x1b\u202e\u2066") & set(html), "neither orders to a terminal nor turned text"
    assert "9 of 14 steps: the first and the last" in page.words


@pytest.mark.parametrize("where", ["task_type", "reason"])
def test_a_hostile_name_in_a_sentence_is_text(fresh: Store, where: str) -> None:
    def verdict(scorer: str, run_id: str) -> float | str:
        return HOSTILE if where == "reason" else 1.0

    documents = [document(f"r-{number}", task_type=HOSTILE) for number in range(5)]
    made = make(fresh, documents, verdict)
    page = page_of(made, task_type=HOSTILE)
    assert HOSTILE in page.words


def test_a_text_of_a_megabyte_is_cut_and_its_length_said(fresh: Store) -> None:
    made = make(fresh, [document("r-1", output="<&>" + "word " * 199_999, input="y" * 1_600)])
    html = report_html.render(gather(made.project, ReportRequest(), NOW))
    page = check(html)
    assert len(html) < 100_000
    assert "the first 2,500 of 999,998 characters" in page.words
    assert "the first 1,500 of 1,600 characters" in page.words


def test_secrets_in_texts_are_blanked_and_the_page_says_so(fresh: Store) -> None:
    secret = "sk-proj-abcdefghijklmnop1234"
    made = make(fresh, [document("r-1", input=f"{'x' * 1_495} {secret} mail ann@example.org", output=secret)])
    html = report_html.render(gather(made.project, ReportRequest(), NOW))
    assert secret not in html
    assert "sk-p" not in html, "nor half of it, where a text is cut"
    assert "[key 1]" in html
    assert "are blanked" in check(html).words


def test_the_store_is_named_without_its_password(made: Made) -> None:
    report = gather(made.project, ReportRequest(), NOW)._replace(store="postgresql+psycopg://me:***@host/db")
    assert "me:***@host" in check(report_html.render(report)).words


def test_an_empty_store_is_one_sentence(fresh: Store) -> None:
    page = page_of(make(fresh, []))
    assert "No runs yet: take some in with spotcheck ingest." in page.words
    assert not any(tag in ("table", "nav") for tag, _ in page.tags)


@pytest.mark.parametrize(
    ("documents", "verdict", "toml", "said"),
    [
        ([document("r-1")], 1.0, TOML, "1 of 14 nights is learned"),
        ([document("r-1")], "refusal", TOML, "nothing scored (1 unscored)"),
        ([document("r-1")], None, TOML, "unscored: being scored"),
        ([document("r-1", status="errored", output=None)], 1.0, TOML, "No answer was recorded."),
        ([document("r-1", input=None, output="")], 1.0, TOML, "(empty)"),
        ([document("r-1", cost_usd=None)], 1.0, TOML, "unknown"),
        ([document(f"r-{n}") for n in range(30)], 1.0, TOML, "None of 30 scored runs is bad."),
        ([document(f"r-{n}") for n in range(30)], 0.0, TOML, "All 30 scored runs are bad"),
        ([document("r-1")], 1.0, TOML + "rubrics = []\n", "none is active"),
    ],
    ids=["one run", "refused", "open", "errored", "no input", "no cost", "all good", "all bad", "no rubric"],
)
def test_little_to_show_is_shown_as_that(
    fresh: Store, documents: list[dict[str, Any]], verdict: float | str | None, toml: str, said: str
) -> None:
    page = page_of(make(fresh, documents, lambda scorer, run_id: verdict, toml=toml))
    assert said in page.words


def test_sixty_task_types_have_a_picture_each_and_most_of_them_folded(fresh: Store) -> None:
    documents = [
        document(f"r-{place}-{number}", night(number), task_type=f"type {place}")
        for place in range(60)
        for number in range(2)
    ]
    made = make(fresh, documents)
    html = report_html.render(gather(made.project, ReportRequest(), NOW))
    page = check(html)
    assert "37 more task types" in page.words
    assert len(html) < 1_000_000
    assert sum(attributes.get("class") == "panel" for _, attributes in page.tags) == 61 + 24
    assert "37 more streams: spotcheck trends --scorer answer_present" in page.words


def test_a_page_asks_no_time_of_its_own(made: Made) -> None:
    report = gather(made.project, ReportRequest(), NOW)
    assert report_html.render(report) == report_html.render(report)
    assert "Mon 23 Nov 2026 06:00 UTC" in check(report_html.render(report)).words
