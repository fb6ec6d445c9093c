"""An answer that is empty because of a filter says which filter, and what there is."""

from collections import Counter
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell


def empty_filters(answer: Any) -> dict[str, list[str]]:
    """What `--json` says of each responsible filter."""
    return {f"{one['option']} {one['value']}": one["there_are"] for one in answer["empty"]}


@pytest.mark.parametrize("by", ["agent", "agent_version"])
def test_a_task_types_trend_by_agent_is_answered_and_adds_up(world: ScoredProject, by: str) -> None:
    said = world.shell("trends", "--task-type", "refund", "--by", by, "--json")
    points = said.json["points"]
    whole = [one for one in world.shell("trends", "--task-type", "refund", "--json").json["points"] if one["task_type"]]
    assert {one["segment"] for one in points} == ({"bot"} if by == "agent" else {"1.0", "2.0"})
    assert {one["task_type"] for one in points} == {"refund"}
    for term in ("population", "sampled", "scored", "unscored"):
        assert _sums(points, term) == _sums(whole, term)
    if by == "agent":  # one agent ran them all
        assert [one["mean"] for one in points] == [one["mean"] for one in whole]
    assert "no trend" not in world.shell("trends", "--task-type", "refund", "--by", by).out


def _sums(points: list[dict[str, Any]], term: str) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for one in points:
        found[one["week"], one["scorer"], one["criterion"], one["scorer_version"]] += one[term]
    return found


@pytest.mark.parametrize("by", ["task_type", "agent_version"])
def test_a_mistyped_name_is_told_with_what_there_is_whatever_the_lines_are_by(world: ScoredProject, by: str) -> None:
    line = world.shell.refused("trends", "--by", by, "--task-type", "refnd")
    assert line == ("spotcheck: --task-type 'refnd' has no scores, task types here: faq, refund; did you mean refund?")
    line = world.shell.refused("trends", "--by", by, "--scorer", "tone")
    assert line.endswith("'tone' has no scores, scorers here: answer_present, task_completion, tool_success")


def test_filters_that_leave_no_run_are_named_with_what_there_is(world: ScoredProject) -> None:
    def of(*words: str) -> dict[str, list[str]]:
        return empty_filters(world.shell("runs", *words, "--json").json)

    nights = f"{world.first} to {world.newest}"
    assert of("--task-type", "tax") == {"--task-type tax": ["faq", "refund"]}
    assert of("--task-type", "faq", "--status", "aborted") == {"--status aborted": ["completed"]}
    assert of("--task-type", "faq", "--until", "2001-01-01") == {"--until 2001-01-01": [nights]}
    assert of("--task-type", "tax", "--status", "aborted") == {
        "--task-type tax": ["faq", "refund"],
        "--status aborted": ["completed"],
    }
    assert "empty" not in world.shell("runs", "--task-type", "faq", "--json").json
    assert world.shell("runs", "--status", "aborted").out == (
        f"no run matches; there are runs from {nights}; --status aborted leaves none, statuses here: completed\n"
    )


def test_filters_that_only_together_leave_no_run_are_all_named(empty: Shell) -> None:
    night = "2026-03-02"
    made = [
        a_document("r-1", task_type="faq", status="completed", ended_at=f"{night}T12:00:00Z"),
        a_document("r-2", task_type="refund", status="aborted", ended_at=f"{night}T12:00:00Z"),
    ]
    assert empty("ingest", "-", stdin=lines(*made)).code == 0
    said = empty("runs", "--task-type", "faq", "--status", "aborted", "--json").json
    assert empty_filters(said) == {"--task-type faq": ["refund"], "--status aborted": ["completed"]}
