"""The sentences: what is open and new leads, nothing is left out, and nothing is claimed that was not tested."""

from datetime import date

import pytest

from tests.support.report_story import WINDOW, change, stream, told
from worker.core.report.model import OutsideName, ScorerCounts, Sensitivity
from worker.core.report.story import headline


def tally(**over: int) -> ScorerCounts:
    counts = dict.fromkeys(
        ("filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending"), 0
    )
    reasons = (("unscored", "refusal", over.get("unscored", 0)),)
    return ScorerCounts._make(("quality", "1", True, 900, *(counts | over).values(), reasons))


def test_a_drop_is_told_as_a_team_lead_would_say_it() -> None:
    assert told(change())[0] == (
        "Quality of refund fell from 91 % to 72 % since Tue 10 Nov "
        "(n 150; beyond doubt, chance alone: less than once in 50 years)."
    )


def test_the_newest_level_stands_beside_it() -> None:
    assert "; W47: 75 % [70–80 %], n 40)." in told(change(), streams=(stream(mean=0.75),))[0]


@pytest.mark.parametrize(
    ("scorer", "before", "after", "words"),
    [
        ("cost_per_run", 0.021, 0.034, "Cost per run of refund rose from $0.021 to $0.034 since"),
        ("error_rate", 0.02, 0.061, "Errors of refund rose from 2 % to 6.1 % of runs since"),
        (
            "tool_failure:issue_refund",
            0.01,
            0.25,
            "Failures of tool issue_refund in refund rose from 1 % to 25 % since",
        ),
        ("steps_per_run", 4.1, 6.3, "Steps per run of refund rose from 4.1 to 6.3 since"),
        ("groundedness", 0.9, 0.8, "groundedness of refund fell from 90 % to 80 % since"),
    ],
)
def test_each_kind_has_its_words(scorer: str, before: float, after: float, words: str) -> None:
    assert told(change(scorer, before=before, after=after))[0].startswith(words)


def test_quality_and_operations_get_a_sentence_each_and_the_rest_is_counted() -> None:
    changes = [change(), change("error_rate", z=9.0), change("cost_per_run", z=8.0), change("quality", "faq", z=4.0)]
    lines = told(*changes, streams=(stream(), stream("faq"), stream("research")), figures=12)
    assert len(lines) == 3
    assert lines[0].startswith("Quality of refund")
    assert lines[1].startswith("Errors of refund")
    assert lines[2] == (
        "2 more findings below; everything else is as it was: 1 stream of scores and 10 of cost, errors, steps and "
        "tools, no change beyond chance."
    )


def test_what_is_new_comes_before_what_is_known() -> None:
    old = change(found_night=date(2026, 10, 1), since=date(2026, 9, 25), z=9.0)
    assert told(old, change("cost_per_run"))[0].startswith("Cost per run")
    assert told(old, change("quality", "faq"))[0].startswith("Quality of faq")


def test_the_overall_line_is_no_news_beside_the_task_type_that_moved_it() -> None:
    lines = told(change(task_type=None, z=9.0), change())
    assert lines[0].startswith("Quality of refund")
    assert told(change(task_type=None))[0].startswith("Quality of all task types at the same mix fell")


@pytest.mark.parametrize(
    ("state", "words"), [("recovered", "and has recovered"), ("accepted", "accepted as the new level")]
)
def test_what_was_settled_is_told_so(state: str, words: str) -> None:
    assert words in told(change(state=state))[0]


def test_a_name_from_outside_is_marked_as_one() -> None:
    pieces = headline(change(task_type="<b>"), "quality")
    assert [piece for piece in pieces if isinstance(piece, OutsideName)] == ["<b>"]


def test_nothing_happened_is_one_sentence_and_what_would_have_been_seen() -> None:
    drops = (Sensitivity(None, 0.06), Sensitivity("refund", 0.09), Sensitivity("faq", 0.21), Sensitivity("rare", None))
    lines = told(streams=(stream(None), stream(), stream("faq")), sensitivity=drops, figures=4)
    assert lines == [
        "Nothing changed beyond chance in week 2026-W47: 3 streams of scores and 4 of cost, errors, steps and tools.",
        "Quality was 90 % in 2026-W47 (95 % interval 85–95 %, n 40 of 400 runs).",
        "A drop of 6 points over the last 7 nights would have been found overall, and one of 9 to 21 points in a "
        "single task type.",
    ]


def test_a_drop_that_could_not_have_been_found_is_not_claimed() -> None:
    lines = told(streams=(stream(),), sensitivity=(Sensitivity("refund", None),))
    assert lines[-1] == "It is early: no drop over the last 7 nights would have been found yet."


def test_young_streams_are_not_called_unchanged() -> None:
    assert (
        told(streams=(stream(state="young"),))[0]
        == "Too early to test for a change in week 2026-W47: 3 of 14 nights are learned."
    )
    lines = told(streams=(stream(), stream("faq", state="young")))
    assert lines[0].endswith("1 stream of scores. 1 more stream is too young to test.")
    assert "1 stream is too young to test" in told(change(), streams=(stream("x"), stream("faq", state="young")))[-1]


def test_a_sample_that_was_not_scored_is_told_even_beside_findings() -> None:
    lines = told(change(), change("error_rate"), streams=(stream("x"),), tallies=(tally(scored=20, unscored=80),))
    assert len(lines) == 3
    assert lines[1] == "Only 20 % of 100 sampled runs have a score of quality, most often: refusal (80)."
    assert told(change(), tallies=(tally(scored=80, unscored=20),), streams=(stream("x"),))[1].startswith(
        "Everything else"
    )


def test_a_finding_of_long_ago_is_told_with_its_year() -> None:
    assert "since Tue 10 Jun 2025" in told(change(since=date(2025, 6, 10), found_night=date(2025, 6, 12)))[0]


def test_an_empty_store_and_an_empty_week_are_a_sentence() -> None:
    assert told(window=None) == ["No runs yet: take some in with spotcheck ingest."]
    assert told(window=WINDOW._replace(runs=0)) == ["No run ended in week 2026-W47."]


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [
        ([], [], ""),
        ([16, 17, 18], [], ""),
        ([17, 18], [16], " since Tue 17 Nov"),
        ([16, 17], [18, 19], " until Tue 17 Nov"),
        ([16, 18, 19], [17], " on 3 of 4 nights"),
    ],
)
def test_a_level_names_the_nights_that_its_series_scored(own: list[int], others: list[int], words: str) -> None:
    by_it, by_others = (tuple(date(2026, 11, number) for number in found) for found in (own, others))
    line = stream(None)._replace(own_nights=by_it, other_nights=by_others)
    assert f"Quality was 90 % in 2026-W47{words} (95 % interval" in told(streams=(line,))[1]
