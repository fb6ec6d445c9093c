"""Commands about rubrics and single runs at 60 columns; and what `rubric show` says of nights and drafts."""

import pytest

from tests.support.backfilled_team import NIGHTS, STRICTER
from tests.support.project import MONDAY
from tests.support.rubrics import changed
from tests.support.shell import Shell

NARROW = 60
DRAFT = {"version: 1.0.0": "version: 1.2.0", "threshold: 0.7": "threshold: 0.8"}


@pytest.mark.parametrize(
    "command",
    [
        "rubric list",
        "rubric show task_completion",
        "explain case-07-0",
        "explain case-09-1",
        "score --run case-07-0",
        "score --run case-09-1",
        "backfill --dry-run",
    ],
)
def test_it_is_readable_at_60_columns_and_says_all_that_it_says_in_a_pipe(team: Shell, command: str) -> None:
    team(*command.split())  # what is scored by it is stored then
    whole = team(*command.split())
    narrow = team(*command.split(), COLUMNS=str(NARROW))
    assert (narrow.code, narrow.code) == (0, whole.code)
    for line in narrow.out.splitlines():
        longest = max(map(len, line.split()), default=0)
        assert len(line) <= max(NARROW, longest + 8), line
    if command.startswith("backfill"):  # the heads of the table are words beside the figures then
        assert "task_completion 1.1.0+" in narrow.out
        assert "  nights 2, runs to score 8; about $" in narrow.out
        whole_figures = [word for word in whole.out.split() if word.startswith("$")]
        assert [word.rstrip(",;") for word in whole_figures] == [
            word.rstrip(",;") for word in narrow.out.split() if word.startswith("$")
        ]
    else:
        assert narrow.out.split() == whole.out.split(), "nothing is cut"
    wide = team(*command.split(), COLUMNS="400")
    assert wide.out.split() == whole.out.split()


def test_the_night_of_the_first_draw_and_the_oldest_scored_night_are_named_apart(team: Shell) -> None:
    said = team("rubric", "show", "task_completion").out
    assert f"active since the draw of night {NIGHTS[2]}, " in said
    assert f": its oldest scored night is {NIGHTS[2]}; " in said
    assert team("backfill", "--yes", "--wait").code == 0
    said = team("rubric", "show", "task_completion").out
    assert f"active since the draw of night {NIGHTS[2]}, " in said
    assert f": its oldest scored night is {MONDAY}; " in said, "a backfill scored it long after"
    (series,) = team("rubric", "show", "task_completion", "--json").json["series"]
    assert series["oldest_night"] == str(MONDAY)
    assert f"since {NIGHTS[2]} (" in team("trends", "--weeks", "60").out, "what nobody backfilled is told as before"


def test_a_draft_is_shown_beside_what_is_active(team: Shell) -> None:
    prompts = team.folder / "prompts"
    same = team("rubric", "show", "task_completion@draft").out
    assert same.splitlines()[0].endswith("the file holds what is active")
    assert "---" not in same
    changed(prompts, DRAFT)
    said = team("rubric", "show", "task_completion@draft").out
    assert said.startswith("task_completion 1.2.0  ")
    assert "1.2.0 is a draft, and scores from the next night that is drawn on" in said
    assert "task_completion 1.1.0  " in said
    assert {"-version: 1.1.0", "+version: 1.2.0"} <= set(said.splitlines())
    for change in ("-pass: {threshold: 0.9", "+pass: {threshold: 0.8"):
        assert any(line.startswith(change) for line in said.splitlines()), said
    told = team("rubric", "show", "task_completion@draft", "--json").json
    assert (told["version"], told["active"]["version"]) == ("1.2.0", "1.1.0")
    assert "threshold: 0.8" in told["source"]
    assert "rubric show task_completion@draft" in team("rubric", "show", "task_completion").out
    assert "— task_completion —" in team("rubric", "show", "task_completion@draft", "--text").out
    assert "nothing is active" in team("rubric", "show", "groundedness@draft").out
    assert "nosuch has no file" in team.refused("rubric", "show", "nosuch@draft")
    (prompts / "task_completion.rubric.md.j2").write_text("no front matter", encoding="utf-8")
    assert "task_completion" in team.refused("rubric", "show", "task_completion@draft")
    changed(prompts, STRICTER)


def test_a_sample_says_what_is_usual_and_the_most_as_a_backfill_does(team: Shell) -> None:
    command = ("sample", "--since", MONDAY, "--until", NIGHTS[2], "--dry-run")
    told = team(*command, "--json").json
    assert 0 < told["estimated_cost_usd"] < told["max_cost_usd"]
    said = team(*command).out
    assert f"; about ${told['estimated_cost_usd']:.4f}, at most ${told['max_cost_usd']:.4f}" in said
    changed(team.folder / "prompts", DRAFT)
    told = team(*command, "--json").json
    assert told["estimated_cost_usd"] == told["max_cost_usd"], "of this series nothing was paid yet"
    assert f"; at most ${told['max_cost_usd']:.4f}" in team(*command).out
    assert "about" not in team(*command).out
