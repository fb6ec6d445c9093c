"""What people see: the answer on the first line, 80 columns, nothing cut in a pipe, and agents' text only shown."""

import csv
import io
import re
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.support.documents import a_document, lines
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell


def widths(text: str) -> list[int]:
    return [len(line) for line in text.splitlines()]


def test_six_weeks_of_trends_fit_80_columns_and_the_table_says_what_it_left_out(world: ScoredProject) -> None:
    narrow = world.shell("trends", "--weeks", "7", COLUMNS="80").out
    assert max(widths(narrow)) <= 80
    heads = [line for line in narrow.splitlines() if re.search(r"W\d\d +W\d\d", line)]
    assert heads
    assert all(len(re.findall(r"\bW\d\d\b", line)) >= 6 for line in heads)


def test_a_narrow_terminal_gets_the_newest_weeks_and_is_told(world: ScoredProject) -> None:
    narrow = world.shell("trends", COLUMNS="60").out
    wide = world.shell("trends", COLUMNS="200").out
    assert "weeks fit in 60 columns; --format csv has all" in narrow
    assert "columns" not in wide
    newest = world.shell("trends", "--json").json["points"][-1]["week"][5:]
    assert newest in narrow
    assert "█" in wide


def test_the_first_line_of_trends_says_how_far_it_goes_and_what_is_open(world: ScoredProject) -> None:
    first = world.shell("trends").out.splitlines()[0]
    found = len(world.shell("drift", "--json").json["findings"])
    assert re.match(r"weekly means to \d{4}-W\d\d \(ISO weeks, UTC\); ", first)
    assert first.endswith(f"{found} finding{'s' if found > 1 else ''} open: spotcheck drift")


def test_rubrics_come_before_heuristics(world: ScoredProject) -> None:
    out = world.shell("trends").out
    assert out.index("task_completion") < out.index("answer_present")


@pytest.mark.parametrize(
    "command", ["drift", "status", "runs --limit 5", "rubric list", "sample --dry-run", "db check"]
)
def test_a_list_fits_80_columns(world: ScoredProject, command: str) -> None:
    said = world.shell(*command.split(), COLUMNS="80")
    assert said.code == 0
    if command not in ("drift",):  # a finding is a sentence
        assert max(widths(said.out)) <= 80, said.out


def test_a_pipe_gets_whole_run_ids_however_long(shell: Shell) -> None:
    long = "run-" + "x" * 200
    shell("ingest", "-", stdin=lines(a_document(long)))
    assert long in shell("runs").out
    assert long in shell("runs", COLUMNS="80").out, "an id that is cut or folded cannot be copied"


RUN_IDS = ("run-1124-27cc397d", "0d9f6f0e-3c5a-4b5e-9d0a-6c1f1f0b7a55", "订单-4711")


@pytest.mark.parametrize("width", [20, 60, 80, 100])
@pytest.mark.parametrize("run_id", RUN_IDS)
def test_each_run_is_one_line_with_its_whole_id_and_other_columns_give_way(
    shell: Shell, run_id: str, width: int
) -> None:
    failing = {"kind": "tool", "name": "look_up", "arguments": {}, "result": "", "error": "refused"}
    run = a_document(run_id, task_type="a_rather_long_task_type", status="errored", cost_usd=0.01, steps=[failing] * 4)
    shell("ingest", "-", stdin=lines(run, run | {"run_id": "r-2"}))
    (flags,) = {row["flags"] for row in shell("runs", "--json").json["runs"]}
    listed = shell("runs", COLUMNS=str(width)).out.splitlines()
    assert len(listed) == 3
    assert run_id in listed[1] + listed[2]
    if width >= 60:
        assert max(map(cell_len, listed)) <= width
        assert "a_rather_" in listed[1] or "flags" not in listed[0]
    whole = shell("runs").out.splitlines()
    assert len(whole) == 3
    assert all(part in whole[1] for part in ("a_rather_long_task_type", "errored", "$0.0100", flags))


def test_an_agents_text_cannot_give_orders_to_the_terminal_or_to_the_tables(shell: Shell) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07[red]bold[/red] :smile: \u202etxt\r\x9b31m"
    run = a_document("r-1", task_type=f"t{hostile}", output=hostile, input=hostile, error=hostile, tags={"a": hostile})
    run["steps"] = [{"kind": "tool", "name": hostile, "arguments": hostile, "result": hostile, "error": hostile}]
    assert shell("ingest", "-", stdin=lines(run)).code == 0
    for command in ("show r-1", "runs", "explain r-1", "sample --dry-run --since 2026-01-01", "runs --task-type x"):
        said = shell(*command.split())
        assert said.code == 0
        assert not set("\x1b\x07\r\x9b\u202e") & set(said.out + said.err)
        if "[" in said.out:
            assert "[red]bold[/red] :smile:" in said.out


def test_rejected_lines_cannot_give_orders_either(shell: Shell) -> None:
    said = shell("ingest", "-", stdin=lines(a_document("r-1", status="\x1b[2J")))
    assert "\x1b" not in said.err


def test_csv_never_starts_a_formula_and_has_every_point(world: ScoredProject, shell: Shell) -> None:
    rows = list(csv.DictReader(io.StringIO(world.shell("trends", "--format", "csv").out)))
    points = world.shell("trends", "--json").json["points"]
    assert len(rows) == len([point for point in points if point["criterion"] is None])
    assert {row["scorer"] for row in rows} == {"task_completion", "answer_present", "tool_success"}


def test_a_picture_of_trends_is_a_png(world: ScoredProject) -> None:
    pytest.importorskip("matplotlib")
    path = world.shell.folder / "picture.png"
    said = world.shell("trends", "--format", "png", "--output", path)
    assert said.out.strip() == str(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("trends", "no trend yet: take runs in (spotcheck ingest), then score nights (spotcheck nightly --wait)"),
        (
            "drift",
            "nothing tested yet: no run was ever taken in (spotcheck ingest) (project budget: 2 false alarms a year)",
        ),
        ("runs", "no runs; take some in with spotcheck ingest"),
        ("score", "no job is open"),
        ("nightly", "1 night, 0 of 0 runs drawn; no job is open"),
        ("nightly --wait", "nothing tested yet: no run was ever taken in (spotcheck ingest)"),
    ],
)
def test_an_empty_project_says_what_to_do_and_is_no_error(empty: Shell, command: str, first: str) -> None:
    said = empty(*command.split())
    assert said.code == 0
    assert said.out.splitlines()[0] == first


def test_an_empty_project_reconciles(empty: Shell) -> None:
    said = empty("status").out.splitlines()
    assert said[0].endswith("every ended run is accounted for")
    assert said[1] == "no runs in this window"


def test_json_on_an_empty_project_keeps_its_shape(empty: Shell) -> None:
    assert empty("trends", "--json").json == {"points": []}
    assert empty("drift", "--json").json == {"findings": []}
    assert empty("runs", "--json").json == {"runs": []}
    assert empty("sample", "--dry-run", "--json").json["strata"] == []
    assert empty("status", "--json").json["scorers"] == []


def test_without_a_judge_the_heuristics_run_and_one_line_says_what_is_missing(shell: Shell) -> None:
    shell("ingest", "-", stdin=lines(a_document("r-1")))
    night = shell("runs", "--json").json["runs"][0]["night"]
    said = shell("nightly", "--date", night, "--wait")
    assert said.code == 0
    assert said.err.splitlines() == [
        "no judge is configured: rubrics give unscored(no_judge_configured). "
        "Set SPOTCHECK_JUDGE_MODEL and OPENAI_API_KEY or OPENAI_BASE_URL"
    ]
    assert "no_judge_configured" in shell("explain", "r-1").out
    assert "task_completion" in shell("trends").out


def test_a_decision_about_a_finding_is_kept(world: ScoredProject, tmp_path: Path) -> None:
    shell = Shell(shutil.copytree(world.shell.folder, tmp_path / "copy"))
    numbers = [finding["finding_id"] for finding in shell("drift", "--json").json["findings"]]
    assert shell("drift", "--fail-on-drift").code == 10
    for number in numbers:
        said = shell("drift", "--acknowledge", number, "--json").json["findings"]
        assert {finding["finding_id"]: finding["state"] for finding in said}[number] == "acknowledged"
    assert shell("drift", "--fail-on-drift").code == 0
    assert shell("trends").out.splitlines()[0].endswith("no finding is open")
    shell("drift", "--accept", numbers[0])
    assert numbers[0] not in [finding["finding_id"] for finding in shell("drift", "--json").json["findings"]]
    assert numbers[0] in [finding["finding_id"] for finding in shell("drift", "--all", "--json").json["findings"]]


def test_help_lists_whole_sentences(shell: Shell) -> None:
    for command in ([], ["rubric"], ["db"]):
        said = shell(*command, "--help", COLUMNS="80")
        assert said.code == 0
        assert "..." not in said.out.partition("Commands:")[2]
        assert max(widths(said.out)) <= 80
