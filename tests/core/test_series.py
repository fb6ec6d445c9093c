"""Which series measures which nights, where another took over, and what is said of it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from worker.core.report.formatting import OutsideName
from worker.core.report.series import (
    SeriesChange,
    SeriesNight,
    announcement,
    change_json,
    changed_parts,
    learning_note,
    series_changes,
    series_spans,
    what_changed,
)
from worker.records import ScorerKey

MONDAY = date(2026, 11, 2)
SPEC = {"rubric": "s", "rubric_hash": "x", "model": "gpt-a", "params": {"temperature": 0}, "redact": True}


def key(letter: str, version: str = "1.0.0", **spec: Any) -> ScorerKey:
    own = {**SPEC, **spec}
    return ScorerKey(name="s", version=version, kind="judge", fingerprint=letter * 16, spec=own)


def night(offset: int, pk: int, scored: int = 5, sampled: int = 5) -> SeriesNight:
    return SeriesNight(MONDAY + timedelta(days=offset), pk, sampled, scored)


def spans(*nights: SeriesNight) -> list[tuple[int, int, int]]:
    return [
        (span.scorer_pk, (span.first - MONDAY).days, (span.last - MONDAY).days)
        for span in series_spans(reversed(nights))
    ]


def test_nights_without_runs_end_no_span_and_there_may_be_none() -> None:
    assert spans() == []
    assert spans(night(0, 1), night(1, 1), night(9, 1)) == [(1, 0, 9)]


def test_a_series_that_comes_back_takes_over_again() -> None:
    assert spans(night(0, 1), night(1, 2), night(2, 1)) == [(1, 0, 0), (2, 1, 1), (1, 2, 2)]


def test_a_night_belongs_to_the_one_that_scored_most_of_it_and_a_tie_to_the_newer() -> None:
    assert spans(night(0, 1), night(1, 1, 4), night(1, 2, 1), night(2, 2)) == [(1, 0, 1), (2, 2, 2)]
    assert spans(night(0, 1), night(1, 1, 1), night(1, 2, 4), night(2, 2)) == [(1, 0, 0), (2, 1, 2)]
    assert spans(night(0, 1), night(1, 1, 3), night(1, 2, 3)) == [(1, 0, 0), (2, 1, 1)]


def test_a_backfill_takes_no_night_from_the_one_that_measured_it_in_its_time() -> None:
    again = [night(offset, 2, 9)._replace(is_backfill=True) for offset in (0, 1)]
    assert spans(*again, night(0, 1), night(1, 1), night(2, 1), night(3, 2)) == [(1, 0, 2), (2, 3, 3)]
    assert spans(*again, night(3, 2)) == [(2, 0, 3)], "of a new scorer there is nothing else"
    assert spans(*again, night(1, 1, 0), night(3, 2)) == [(2, 0, 3)]


def test_what_has_no_score_is_told_only_where_it_is_the_newest() -> None:
    """A project that had no judge at first has no change of its judge; one whose new judge answers nothing has."""
    assert spans(night(0, 1, 0), night(1, 2)) == [(2, 1, 1)]
    assert spans(night(0, 1), night(1, 2, 0), night(2, 1)) == [(1, 0, 2)]
    assert spans(night(0, 1), night(1, 2, 0), night(2, 2, 0)) == [(1, 0, 0), (2, 1, 2)]
    assert spans(night(0, 1, 0, 0)) == []


@pytest.mark.parametrize(
    ("weeks", "said"),
    [
        ({1: [45, 46, 47]}, []),
        ({1: [45, 46], 2: [46, 47]}, [(1, 2, "W46", False)]),
        ({1: [45, 46, 48], 2: [47]}, [(1, 2, "W47", False), (2, 1, "W48", True)]),
        ({1: [44], 2: [45], 3: [46]}, [(1, 2, "W45", False), (2, 3, "W46", False)]),
    ],
)
def test_each_take_over_is_told_with_its_first_night(
    weeks: Mapping[int, list[int]], said: list[tuple[int, int, str, bool]]
) -> None:
    keys = {pk: key("abc"[pk - 1]) for pk in weeks}
    nights = [SeriesNight(date.fromisocalendar(2026, week, 1), pk, 5, 5) for pk, of in weeks.items() for week in of]
    changes = series_changes(
        series_spans(nights), keys, {pk: date.fromisocalendar(2026, of[0], 1) for pk, of in weeks.items()}
    )
    pks = {one.series: pk for pk, one in keys.items()}
    assert [
        (pks[one.before.series], pks[one.after.series], f"W{one.since.isocalendar()[1]}", one.is_back)
        for one in changes
    ] == said
    assert [one.tested_from is None for one in changes] == [place < len(changes) - 1 for place in range(len(changes))]


def test_a_series_that_is_back_goes_on_with_its_own_past() -> None:
    keys = {1: key("a"), 2: key("b")}
    nights = [night(offset, 2 if offset == 20 else 1) for offset in range(22)]
    back = series_changes(series_spans(nights), keys, {1: MONDAY, 2: MONDAY + timedelta(days=20)})[-1]
    assert back.tested_from == MONDAY + timedelta(days=14)
    assert learning_note(back, MONDAY + timedelta(days=21)) == ""
    assert (
        "".join(announcement(back))
        == "s: series 1.0.0+aaaaaaaa again since 2026-11-23; not compared with 1.0.0+bbbbbbbb before"
    )


CHANGES: list[tuple[ScorerKey, str]] = [
    (key("b", model="gpt-b"), "another judge: gpt-a → gpt-b"),
    (key("b", model=None), "another judge: gpt-a → none"),
    (key("b", "1.1.0", rubric_hash="y"), "rubric 1.0.0 → 1.1.0"),
    (key("b", rubric_hash="y"), "the rubric's text, its version still 1.0.0"),
    (key("b", redact=False), "redaction on → off"),
    (key("b", redaction_version="2"), "redaction rules, version 1 → 2"),
    (key("b", params={"temperature": 0.5}), "params.temperature 0 → 0.5"),
    (key("b", samples=3), "samples 1 → 3"),
    (key("b", escalate={"to": "gpt-c", "when": ["unknown"], "below": 0.8}), "second judge none → gpt-c"),
    (key("b", settings={"schemas": {"refund": {"type": "object"}}}), "settings.schemas.refund changed"),
    (key("b", settings={"most": 400}), "settings.most none → 400"),
    (key("b", params={"text": "x" * 99}), "params.text changed; params.temperature 0 → none"),
    (
        key("b", "1.1.0", rubric_hash="y", model="gpt-b", redact=False, params={"seed": 1}),
        "rubric 1.0.0 → 1.1.0; another judge: gpt-a → gpt-b; params.seed none → 1; 2 more parts",
    ),
    (key("b", repair=True), "repair off → on"),
    (key("b", code="y"), "its code"),
    (key("b", settings={"api_key": "abcdef123456"}), "settings.api_key none → [token 1]"),
    (
        key("b", settings={"to": {"mail": "ann@example.org", "n": 1}}),
        "settings.to.mail none → [email 1]; settings.to.n none → 1",
    ),
    (key("b"), ""),
]


@pytest.mark.parametrize(("after", "said"), CHANGES)
def test_what_has_changed_is_said_by_name(after: ScorerKey, said: str) -> None:
    assert "".join(what_changed(key("a"), after)) == said
    assert bool(changed_parts(key("a"), after)) == bool(said)


def a_change(after: ScorerKey) -> SeriesChange:
    since = MONDAY + timedelta(days=1)
    tested_from = MONDAY + timedelta(days=15)
    return SeriesChange(key("a"), after, MONDAY, since, is_scored=True, is_back=False, tested_from=tested_from)


def test_the_announcement_names_both_and_says_what_it_means() -> None:
    change = a_change(key("b", "1.1.0", rubric_hash="y"))
    assert "".join(announcement(change)) == (
        "s: new series 1.1.0+bbbbbbbb since 2026-11-03 (rubric 1.0.0 → 1.1.0); not compared with 1.0.0+aaaaaaaa before"
    )
    assert learning_note(change, MONDAY + timedelta(days=14)).endswith("before the night of 2026-11-17")
    assert learning_note(change, MONDAY + timedelta(days=15)) == ""
    assert "none of its runs has a score yet" in "".join(announcement(change._replace(is_scored=False)))
    told = change_json(change, MONDAY + timedelta(days=2))
    assert (told["before"], told["after"], told["since"]) == ("1.0.0+aaaaaaaa", "1.1.0+bbbbbbbb", "2026-11-03")
    assert told["text"].startswith("s: new series")
    assert told["text"].endswith("2026-11-17")


def test_names_from_outside_are_told_apart_from_our_words() -> None:
    hostile = "<b>x</b>`|\n\x1b[2J"
    for piece in announcement(a_change(key("b", "1+`", model=hostile, params={hostile: 1}))):
        assert isinstance(piece, OutsideName) or not set(piece) & set("<`|\n\x1b")
