"""An answer that is empty because of a filter says which filter, and what there is."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell


@pytest.fixture
def watched(world: ScoredProject, tmp_path: Path) -> Shell:
    """A copy of that project, to decide about its alerts and findings."""
    shutil.copytree(world.shell.folder, tmp_path / "copy")
    return Shell(tmp_path / "copy", world.shell.environ)


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


def test_a_report_of_nights_or_a_task_type_without_runs_says_what_there_is(world: ScoredProject) -> None:
    nights = f"{world.first} to {world.newest}"
    said = world.shell("report", "--week", "1998-W01", "--json").json
    assert said["sentences"] == ["No run ended in week 1998-W01.", f"There are runs from {nights}."]
    assert empty_filters(said) == {"--since 1997-12-29 --until 1998-01-04": [nights]}
    said = world.shell("report", "--week", "1998-W01", "--task-type", "faq", "--json").json
    assert said["sentences"] == ["No run ended in week 1998-W01.", f"It has runs from {nights}."]
    assert "empty" not in world.shell("report", "--task-type", "faq", "--json").json


def test_a_report_of_a_task_type_that_others_nights_have_says_which_these_have(empty: Shell) -> None:
    made = [
        a_document("r-1", task_type="faq", ended_at="2026-03-02T12:00:00Z"),
        a_document("r-2", task_type="refund", ended_at="2026-03-12T12:00:00Z"),
    ]
    assert empty("ingest", "-", stdin=lines(*made)).code == 0
    out = empty("report", "--week", "2026-W10", "--task-type", "refund").out
    assert "Task type refund has none: task types here are faq." in out
    assert "It has runs from 2026-03-12 to 2026-03-12." in out


def test_status_and_draws_of_nights_without_runs_say_which_have_some(world: ScoredProject) -> None:
    nights = f"{world.first} to {world.newest}"
    assert (
        f"no runs in this window; there are runs from {nights}\n" in world.shell("status", "--until", "2001-01-01").out
    )
    said = world.shell("status", "--since", "2001-01-01", "--until", "2001-01-02", "--json").json
    assert empty_filters(said) == {"--since 2001-01-01 --until 2001-01-02": [nights]}
    assert "empty" not in world.shell("status", "--json").json
    for words in (["sample", "--dry-run"], ["nightly"]):
        assert f"there are runs from {nights}" in world.shell(*words, "--until", "2001-01-01").out


@pytest.mark.parametrize("command", ["show", "explain", "rubric preview task_completion --run"])
def test_a_source_that_has_not_the_run_is_told_with_those_that_have(world: ScoredProject, command: str) -> None:
    line = world.shell.refused(*command.split(), "refund-41-0", "--source", "mirror")
    assert line == "spotcheck: --source 'mirror' has no run 'refund-41-0'; it is known from jsonl"


def test_a_limit_hides_no_open_alert_from_the_count_and_the_exit_code(watched: Shell) -> None:
    said = watched("alerts", "--limit", "1")
    whole = watched("alerts")
    assert said.out.splitlines()[0] == whole.out.splitlines()[0]
    assert said.err == f"the first 1 of {len(watched('alerts', '--json').json['alerts'])}; --limit shows more\n"
    first = watched("alerts", "--limit", "1", "--json").json["alerts"][0]["alert_id"]
    assert watched("alerts", "--mute", first).code == 0
    assert watched("alerts", "--limit", "1", "--json").json["alerts"][0]["state"] == "muted"
    assert watched("alerts", "--limit", "1", "--fail-on-drift").code == 10


def test_findings_that_ended_are_counted_where_none_is_open(watched: Shell) -> None:
    findings = watched("drift", "--json").json["findings"]
    for one in findings:
        assert watched("drift", "--accept", one["finding_id"]).code == 0
    assert f"; {len(findings)} finding" in watched("drift").out
    assert "that ended: --all" in watched("drift").out
