"""`spotcheck report` as people and machines call it: what goes where, 80 columns, one-line errors, files whole."""

import webbrowser
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.support.documents import a_document, lines
from tests.support.history import HOSTILE, Made
from tests.support.shell import Shell


@pytest.fixture
def shell(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell in a folder whose project has seven weeks behind it."""
    monkeypatch.setattr("worker.cli.commands.report.webbrowser.open", lambda url: False)
    url = made.store.engine.url.render_as_string(hide_password=False)
    (tmp_path / "here").mkdir()
    return Shell(tmp_path / "here", {"SPOTCHECK_DATABASE_URL": url})


def test_the_terminal_gets_the_answer_first_within_eighty_columns(shell: Shell) -> None:
    out = shell("report", COLUMNS="80").out
    first = out.splitlines()
    assert first[0].startswith("week 2026-W47, Mon 16 Nov to Sun 22 Nov 2026 (UTC): 154 ended runs")
    assert "* Quality of refund fell from" in out
    assert max(len(line) for line in first) <= 80
    assert (
        max(len(line) for line in shell("report", COLUMNS="50").out.splitlines() if "spotcheck show" not in line) <= 80
    )
    assert "worst runs by task_completion" in out
    assert "every ended run accounted for" in out


def test_a_page_is_written_and_its_path_is_the_answer(shell: Shell) -> None:
    said = shell("report", "--html", "week.html")
    assert said.out == "week.html\n"
    assert "Quality of refund fell" in said.err
    html = (shell.folder / "week.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert html.rstrip().endswith("</html>")


def test_markdown_goes_to_stdout_or_a_file(shell: Shell) -> None:
    text = shell("report", "--markdown", "-").out
    assert text.startswith("**Spotcheck, week 2026-W47**")
    assert shell("report", "--markdown", "week.md", "--html", "week.html").out == "week.html\nweek.md\n"
    assert (shell.folder / "week.md").read_text(encoding="utf-8").splitlines()[0] == text.splitlines()[0]


def test_json_and_a_page_at_once(shell: Shell) -> None:
    said = shell("report", "--json", "--html", "week.html")
    assert said.json["window"]["label"] == "week 2026-W47"
    assert (shell.folder / "week.html").exists()


def test_a_browser_that_is_not_there_is_no_error(shell: Shell) -> None:
    said = shell("report", "--open")
    assert said.code == 0
    assert said.out == "spotcheck-report.html\n"
    assert "open spotcheck-report.html yourself" in said.err


def test_the_browser_is_given_the_file(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def browser(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browser)
    shell("report", "--open", "--html", "a b.html")
    assert opened == [(shell.folder / "a b.html").resolve().as_uri()]


def test_weeks_and_nights_of_the_past(shell: Shell) -> None:
    assert shell("report", "--week", "2026-W43", "--json").json["window"]["since"] == "2026-10-19"
    assert shell("report", "--since", "2026-11-01", "--until", "2026-11-08", "--json").json["window"]["nights"] == 8
    assert shell("report", "--until", "2026-11-08", "--json").json["window"]["since"] == "2026-11-02"
    assert shell("report", "--week", "2031-W01", "--json").json["sentences"] == [
        "No run ended in week 2031-W01.",
        "There are runs from 2026-10-05 to 2026-11-22.",
    ]
    assert shell("report", "--since", "1970-01-01", "--until", "1970-01-02").code == 0
    assert shell("report", "--since", "2999-12-01").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--week 2026-47", "--week '2026-47' is not an ISO week; write it like 2026-W47"),
        ("--week 2026-W60", "--week '2026-W60' is not an ISO week"),
        ("--week 2026-W47 --since 2026-11-01", "--week and --since or --until name different nights"),
        ("--since 2026-11-08 --until 2026-11-01", "--since 2026-11-08 is after --until 2026-11-01"),
        ("--since yesterday", "--since 'yesterday' is not a date"),
        ("--since 0001-01-01", "no run is so old or so new"),
        ("--until 9999-12-31", "no run is so old or so new"),
        ("--task-type refnud", "--task-type 'refnud' has no runs; did you mean refund?"),
        ("--json --markdown -", "both want stdout"),
        ("--html no/such/folder.html", "--html no/such/folder.html cannot be written: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(shell: Shell, arguments: str, said: str) -> None:
    assert said in shell.refused("report", *arguments.split())


def test_an_empty_project_says_what_to_do(tmp_path: Path) -> None:
    empty = Shell(tmp_path)
    assert empty("db", "upgrade").code == 0
    assert empty("report").out == "* No runs yet: take some in with spotcheck ingest.\n"
    assert empty("report", "--html", "r.html", "--markdown", "r.md").code == 0
    assert empty("report", "--json").json["window"] is None


def test_an_agents_text_gives_no_orders_to_the_terminal(tmp_path: Path) -> None:
    hostile = f"\x1b[2J\x9b31m\u202etxt{HOSTILE}"
    alone = Shell(tmp_path)
    run = a_document("r-1", task_type=f"t{hostile}", output=hostile, input=hostile)
    assert alone("ingest", "-", stdin=lines(run)).code == 0
    for arguments in ("report", "report --html r.html", "report --markdown -"):
        said = alone(*arguments.split())
        assert said.code == 0
        assert not set("\x1b\x9b\u202e") & set(said.out + said.err)
    assert not set("\x1b\x9b\u202e") & set((tmp_path / "r.html").read_text(encoding="utf-8"))


def test_a_pipe_gets_run_ids_and_names_whole(tmp_path: Path) -> None:
    long = "run-" + "x" * 200
    alone = Shell(tmp_path)
    nights = [a_document(long, task_type="t" * 60)]
    assert alone("ingest", "-", stdin=lines(*nights)).code == 0
    night = alone("runs", "--json").json["runs"][0]["night"]
    alone("nightly", "--date", night, "--wait")
    out = alone("report").out
    assert "t" * 60 in out
    assert max(len(line) for line in alone("report", COLUMNS="80").out.splitlines() if long not in line) <= 80


def test_costs_and_the_last_line_are_of_the_nights_and_the_task_type_that_were_asked_for(
    database_url: str, tmp_path: Path
) -> None:
    """They were of the newest week, which had begun a day ago, and of all task types."""
    shell = Shell(tmp_path, {"SPOTCHECK_DATABASE_URL": database_url})
    toml = "[sampling]\nrate = 1.0\nflagged_rate = 1.0\n[scoring]\nheuristics = ['answer_present']\nrubrics = []\n"
    (tmp_path / "spotcheck.toml").write_text(toml, encoding="utf-8")
    monday = date(2026, 11, 16)
    runs = [
        a_document(
            f"{task}-{night}-{number}",
            task_type=task,
            ended_at=f"{monday + timedelta(days=night)}T10:00:00Z",
            cost_usd=(0.01 if night < 7 else 0.5) * (1 if task == "refund" else 100),
            status="errored" if night == 4 else "completed",
        )
        for night in range(8)
        for task in ("refund", "faq")
        for number in range(3)
    ]
    assert shell("ingest", "-", stdin=lines(*runs)).code == 0
    window = ("--since", monday + timedelta(days=3), "--until", monday + timedelta(days=7))
    assert shell("nightly", "--since", monday, "--until", monday + timedelta(days=7), "--wait").code == 0
    found = shell("report", *window, "--task-type", "refund", "--json").json
    (refund,) = found["cost"]
    assert refund["window"]["runs"] == 15
    assert refund["window"]["cost_usd"]["value"] == pytest.approx((4 * 0.01 + 0.5) / 5)
    assert refund["window"]["errors"]["value"] == pytest.approx(1 / 5)
    assert found["sampled"]["scorers"][0]["ended"] == 15, "not the 30 of both task types"
    shown = shell("report", *window).out
    assert "$0.11\n" in shown
    assert shell("report", *window, "--html", "r.html", "--markdown", "r.md").code == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "The nights 2026-11-19 to 2026-11-23: $163.62 in all" in page
    assert "$0.11" in (tmp_path / "r.md").read_text(encoding="utf-8")
