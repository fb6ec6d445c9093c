"""`spotcheck backfill` and `score --run`: what they show, ask and refuse; and what `nightly` says of the rest."""

import os
import pty
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support import stores
from tests.support.backfilled_team import NIGHTS, RUNS, STRICTER, TOML
from tests.support.documents import lines
from tests.support.processes import ROOT, SPOTCHECK
from tests.support.project import MONDAY, document
from tests.support.rubrics import changed
from tests.support.shell import Shell


def test_the_price_comes_first_and_nobody_is_surprised(team: Shell) -> None:
    said = team("backfill", "--dry-run")
    assert said.code == 0
    assert said.out.splitlines()[0].split() == [
        "rubric",
        "series",
        "nights",
        "runs",
        "to",
        "score",
        "queued",
        "about",
        "at",
        "most",
    ]
    row = said.out.splitlines()[1].split()
    assert (row[0], row[1].partition("+")[0], row[2:4]) == ("task_completion", "1.1.0", ["2", "8"])
    about, most = (float(usd.removeprefix("$")) for usd in row[-2:])
    assert 0 < about < most
    assert f"8 scores over 2 drawn nights; about ${about:.4f}, at most ${most:.4f}, of which" in said.out
    told = team("backfill", "--dry-run", "--json").json
    for priced in (told, told["scorers"][0]):
        assert (round(priced["estimated_cost_usd"], 4), round(priced["max_cost_usd"], 4)) == (about, most)
    assert "of which $5.00 a day may be spent" in said.out
    refused = team.refused("backfill")
    assert refused.startswith(f"spotcheck: 8 scores, about ${about:.4f}, at most ${most:.4f}")
    assert refused.endswith(": say --yes, or look first with --dry-run")
    assert team("backfill", "--dry-run", "--json").json["runs"] == 8, "nothing was queued"


def budget(team: Shell, usd: float) -> None:
    toml = TOML.replace("backfill_usd_per_day = 5.0", f"backfill_usd_per_day = {usd}")
    (team.folder / "spotcheck.toml").write_text(toml, encoding="utf-8")


def test_whether_it_fits_todays_money_is_said_first(team: Shell) -> None:
    told = team("backfill", "--dry-run", "--json").json
    assert (told["left_today_usd"], told["fits_today"]) == (5.0, "yes")
    assert "today $5.0000 are left for backfills: all of it fits" in team("backfill", "--dry-run").out
    between = (told["estimated_cost_usd"] + told["max_cost_usd"]) / 2
    for usd, fits, words in (
        (between, "probably", "by what such scores cost so far"),
        (told["estimated_cost_usd"] / 2, "no", "what does not waits for the next day's money"),
        (0.0, "no", "today $0.0000 are left"),
    ):
        budget(team, usd)
        now = team("backfill", "--dry-run", "--json").json
        assert (now["left_today_usd"], now["fits_today"]) == (pytest.approx(usd), fits)
        (line,) = [line for line in team("backfill", "--dry-run").out.splitlines() if line.startswith("today $")]
        assert words in line
    budget(team, 5.0)
    assert team("backfill", "--yes", "--wait", "--until", MONDAY).code == 0
    spent = team("status", "--json").json["spend"]["backfill"]["spent_usd"]
    assert team("backfill", "--dry-run", "--json").json["left_today_usd"] == pytest.approx(5.0 - spent)


def test_a_rubrics_own_cap_may_be_what_does_not_fit(team: Shell) -> None:
    toml = TOML.replace("backfill_usd_per_day = 5.0\n", "budget_usd_per_month = 50.0\n")
    toml += "[judge.budgets.task_completion]\nusd_per_month = 0.0\n"
    (team.folder / "spotcheck.toml").write_text(toml, encoding="utf-8")
    assert team("backfill", "--dry-run", "--json").json["fits_today"] == "no"
    assert "left for backfills of task_completion: not all of it fits" in team("backfill", "--dry-run").out
    (team.folder / "spotcheck.toml").write_text(TOML.replace("backfill_usd_per_day = 5.0\n", ""), encoding="utf-8")
    told = team("backfill", "--dry-run", "--json").json
    assert (told["left_today_usd"], told["fits_today"]) == (None, None), "nothing is counted without a budget"
    assert "today $" not in team("backfill", "--dry-run").out


def test_a_scorer_that_exists_and_is_not_active_is_named_with_what_to_do(team: Shell) -> None:
    there = "has a file, but scoring.rubrics does not name it (there: task_completion); add it there"
    for command in (("backfill", "--scorer"), ("score", "--run", "case-07-0", "--scorer")):
        assert there in team.refused(*command, "groundedness"), "a shipped rubric"
        assert "heuristic completed is not in scoring.heuristics; add it there" in team.refused(*command, "completed")
    broken = team.folder / "prompts" / "tone.rubric.md.j2"
    broken.write_text("no front matter", encoding="utf-8")
    assert "tone is not active, and its file is wrong: " in team.refused("backfill", "--scorer", "tone")
    broken.unlink()
    toml = TOML.replace("[scoring]", '[scoring]\nrubrics = ["task_completion", "groundedness"]')
    (team.folder / "spotcheck.toml").write_text(toml, encoding="utf-8")
    said = team.refused("backfill", "--scorer", "groundedness")
    assert "rubric groundedness is not active yet: the next draw (spotcheck nightly) makes it so" in said
    changed(team.folder / "prompts", {"version: 1.0.0": "version: 2.0.0"})
    said = team.refused("backfill", "--scorer", "task_completion@2.0.0")
    assert "spotcheck rubric promote task_completion --unproved WHY makes it active" in said
    changed(team.folder / "prompts", STRICTER)
    (team.folder / "spotcheck.toml").write_text(TOML.replace("[scoring]", "[scoring]\nrubrics = []"), encoding="utf-8")
    assert team("nightly", "--date", NIGHTS[2]).code == 0, "it is not wanted any more"
    said = team.refused("backfill", "--scorer", "task_completion@1.0.0")
    assert "scoring.rubrics does not name it (there: none)" in said


def test_a_night_without_runs_is_said_with_those_that_have_some(team: Shell) -> None:
    before, far = MONDAY - timedelta(days=9), NIGHTS[2] + timedelta(days=5)
    span = f"there are runs from {MONDAY} to {NIGHTS[2]}"
    for night in (before, far):
        for wait in ((), ("--wait",)):
            assert team("nightly", "--date", night, *wait).out.startswith(f"night {night} has no runs; {span}")
    said = team("nightly", "--since", before - timedelta(days=3), "--until", before).out
    assert said.startswith(f"nights {before - timedelta(days=3)} to {before} have no runs; {span}")
    said = team("sample", "--since", before, "--until", before, "--dry-run").out
    assert said == f"no night is due; night {before} has no runs; {span}\n"
    farther = far + timedelta(days=9)
    backfilled = team("backfill", "--since", farther)
    assert (backfilled.out, backfilled.err) == (
        "no night is drawn there\n",
        f"nights from {farther} on have no runs; {span}\n",
    )
    beyond = NIGHTS[2] + timedelta(days=3)
    (team.folder / "later.jsonl").write_bytes(lines(document("case-later", beyond)))
    assert team("ingest", "later.jsonl").code == 0
    gap = NIGHTS[2] + timedelta(days=1)
    assert f"night {gap} has no runs; the nearest nights with runs are {NIGHTS[2]} and {beyond}" in (
        team("nightly", "--date", gap).out
    )
    assert "no runs" not in team("nightly", "--date", MONDAY).out, "drawn before, and it has runs"


def test_a_backfill_names_each_night_that_is_not_drawn(team: Shell) -> None:
    new = [NIGHTS[2] + timedelta(days=offset) for offset in (1, 2, 4)]
    (team.folder / "later.jsonl").write_bytes(lines(*(document(f"case-{night}", night) for night in new)))
    assert team("ingest", "later.jsonl").code == 0
    said = team("backfill", "--since", new[0], "--until", new[2])
    assert said.out == "no night is drawn there\n"
    assert said.err == (
        f"3 nights ({new[0]} to {new[1]}, {new[2]}) are not drawn and left alone; "
        f"spotcheck nightly --since {new[0]} --until {new[2]} draws them\n"
    )


def test_what_a_backfill_has_queued_counts_in_the_price_of_going_on(team: Shell) -> None:
    before = team("backfill", "--dry-run", "--json").json
    assert team("backfill", "--yes").code == 0, "queued, and nobody has worked"
    after = team("backfill", "--dry-run", "--json").json
    assert (after["runs"], after["scorers"][0]["queued"]) == (0, 8)
    for amount in ("estimated_cost_usd", "max_cost_usd"):
        assert after[amount] == before[amount] > 0
    assert "0 scores and 8 queued by a backfill before over 2 drawn nights; about $" in team("backfill").out


def test_before_anything_was_paid_only_the_most_is_known(team: Shell) -> None:
    changed(team.folder / "prompts", {"version: 1.0.0": "version: 1.2.0", "threshold: 0.7": "threshold: 0.8"})
    assert team("rubric", "promote", "task_completion", "--unproved", "a test").code == 0
    told = team("backfill", "--dry-run", "--json").json
    assert told["estimated_cost_usd"] is told["scorers"][0]["estimated_cost_usd"] is None
    assert told["max_cost_usd"] > 0
    shown = team("backfill", "--dry-run").out
    assert shown.splitlines()[1].split()[-2] == "—"
    assert f"12 scores over 3 drawn nights; at most ${told['max_cost_usd']:.4f}, of which" in shown


def test_a_backfill_is_done_marked_everywhere_and_repeats_nothing(team: Shell) -> None:
    done = team("backfill", "--yes", "--wait", "--json")
    assert done.code == 0, done.err
    answer = done.json
    assert (answer["runs"], answer["added"], answer["taken_up"], answer["settled"], answer["open"]) == (8, 8, 0, 8, 0)
    assert answer["undrawn_nights"] == []
    assert answer["nights"] == [str(night) for night in NIGHTS]
    again = team("backfill", "--yes", "--wait")
    assert (again.code, again.out.splitlines()[0]) == (0, "3 drawn nights: nothing is left to score")

    points = team("trends", "--json", "--weeks", 60).json["points"]
    marked = {
        point["scorer_version"]: point["backfilled_nights"] for point in points if point["scorer"] != "answer_present"
    }
    assert sorted(marked.values()) == [0, 2]
    table = team("trends", "--weeks", 60).out
    assert f"task_completion {max(marked)}: 2 nights by backfill, W37" in table
    assert "backfilled_nights" in team("trends", "--format", "csv", "--weeks", 60).out.splitlines()[0]
    assert team("trends", "--format", "png", "--weeks", 60).code == 0
    status = team("status", "--since", MONDAY, "--until", NIGHTS[2], "--json").json
    by_backfill = [row["night"] for row in status["scorers"] if row["by_backfill"]]
    assert by_backfill == [str(night) for night in NIGHTS[:2]]
    assert status["spend"]["backfill"]["cap_usd"] == 5.0
    shown = team("status", "--since", MONDAY, "--until", NIGHTS[2]).out
    assert f"by backfill: task_completion {max(marked)} on 2 of these nights" in shown
    assert "spent today by backfills $" in shown
    assert "by backfill" in team("explain", "case-07-0").out
    assert "judge.backfill_usd_per_day" in team("settings").out


def test_nightly_and_sample_name_what_they_leave_alone(team: Shell) -> None:
    for command in (
        ("nightly", "--since", MONDAY, "--until", NIGHTS[2]),
        ("sample", "--since", MONDAY, "--until", NIGHTS[2]),
    ):
        told = [line for line in team(*command).err.splitlines() if "backfill" in line]
        assert len(told) == 1
        assert told[0].startswith("task_completion 1.1.0+")
        assert told[0].endswith(
            f" has not scored 2 drawn nights; spotcheck backfill --since {NIGHTS[0]} --until {NIGHTS[1]}"
        )
    assert team("backfill", "--yes", "--wait").code == 0
    assert "backfill" not in team("sample", "--since", MONDAY, "--until", NIGHTS[2]).err


def test_what_is_not_there_is_said_in_one_line(team: Shell, tmp_path: Path, sqlite_ready: Path) -> None:
    assert team.refused("backfill", "--scorer", "task_completon").endswith("did you mean task_completion?")
    assert "is not a date" in team.refused("backfill", "--since", "soon")
    assert "spotcheck sample" not in team("backfill", "--rate", "0.5", "--dry-run").err
    far = team("backfill", "--since", "2031-01-01")
    assert (far.code, far.out) == (0, "no night is drawn there\n")
    folder = tmp_path / "empty"
    folder.mkdir()
    stores.sqlite_copy(sqlite_ready, folder)
    empty = Shell(folder)("backfill")
    assert (empty.code, empty.out) == (0, "no night is drawn there\n")


def test_one_run_is_scored_and_its_verdict_shown(team: Shell) -> None:
    said = team("score", "--run", "case-07-0", "--json")
    assert said.code == 0, said.err
    assert (said.json["run_id"], said.json["night"], said.json["trouble"]) == ("case-07-0", str(MONDAY), None)
    judged, heuristic = said.json["scores"]
    assert (heuristic["scorer"], heuristic["stored_before"], heuristic["counts"]) == ("answer_present", True, True)
    assert (judged["state"], judged["stored_before"], judged["counts"], judged["label"]) == (
        "scored",
        False,
        False,
        "pass",
    )
    assert judged["criteria"]
    shown = team("score", "--run", "case-07-0").out
    assert "stored, scored" in shown
    assert "in no estimate yet: drawn, but this night was not enrolled for this series; a backfill counts it" in shown
    assert shown.index("task_completion") < shown.index("answer_present")
    assert judged["rationale"].startswith("outcome pass: ")
    assert "outcome: pass" in shown
    assert judged["rationale"] not in shown, "the aggregate does not repeat its criterion"
    explained = team("explain", "case-07-0").out
    assert "by score --run" in explained
    assert "by backfill" not in explained
    assert team("score", "--run", "case-07-0", "--scorer", "answer_present", "--json").json["scores"] == [heuristic]
    assert "there is no run 'nosuch'" in team.refused("score", "--run", "nosuch")
    assert "belong to --run" in team.refused("score", "--scorer", "task_completion")


def test_a_terminal_is_asked_and_no_is_the_default(team: Shell) -> None:
    def answered(text: bytes) -> tuple[int, str]:
        screen, terminal = pty.openpty()
        with subprocess.Popen(
            [*SPOTCHECK, "backfill"],
            cwd=team.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **team.environ},
            stdin=terminal,
            stdout=terminal,
            stderr=subprocess.PIPE,
        ) as process:
            os.write(screen, text)
            _, err = process.communicate(timeout=60)
        os.close(terminal)
        os.close(screen)
        return process.returncode, err.decode()

    for refusal in (b"\n", b"n\n"):
        code, err = answered(refusal)
        assert (code, "score these? [y/N]" in err, "nothing is queued" in err) == (0, True, True), err
    assert team("backfill", "--dry-run", "--json").json["runs"] == 2 * RUNS
    code, err = answered(b"y\n")
    assert (code, "nothing is queued" in err) == (0, False), err
    assert team("backfill", "--dry-run", "--json").json["runs"] == 0
    assert team("score", "--wait", "--json").json["open"] == 0
