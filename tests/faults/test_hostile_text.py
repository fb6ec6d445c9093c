"""What an agent wrote never gives orders: not to a terminal, not to a reader of our lines, not to a spreadsheet."""

import csv
import io
import re
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from worker.cli import options
from worker.cli.commands import drift
from worker.cli.views import trends_table

ORDERS = "\x1b[2J\x1b]0;owned\x07\x9b31m\x08\r\x7f\u202e\u2066"
RAW = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
FORGED = "refund\nno finding is open"
FORMULAS = ("=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "＝1", "\n=1")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A scored night whose runs hold orders in every field that a person sees."""
    shell = Shell(tmp_path_factory.mktemp("hostile"))
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1\nflagged_rate = 1\n[scoring]\nrubrics = []\n")
    fields: dict[str, Any] = {
        name: f"{name} {ORDERS}" for name in ("input", "output", "error", "stop_reason", "agent", "agent_version")
    }
    step = {"kind": "tool", "name": ORDERS, "error": ORDERS, "result": ORDERS, "arguments": {ORDERS: ORDERS}}
    runs = [a_document(f"id {ORDERS}", task_type=f"type {ORDERS}", source=ORDERS, steps=[step], **fields)]
    runs += [a_document(f"forged-{n}", task_type=FORGED, agent=FORGED, output=str(n)) for n in range(3)]
    runs += [
        a_document(f"formula-{n}", task_type=text, agent=text, agent_version="$\\frac{")
        for n, text in enumerate(FORMULAS)
    ]
    runs += [a_document("maths", task_type="$\\frac{1}$ $")]
    assert shell("ingest", "-", stdin=lines(*runs)).code == 0
    night = shell("runs", "--json").json["runs"][0]["night"]
    assert shell("nightly", "--date", night, "--wait").code == 0
    return shell


@pytest.mark.parametrize(
    "command",
    [
        ["runs"],
        ["show", f"id {ORDERS}"],
        ["explain", f"id {ORDERS}"],
        ["trends"],
        ["trends", "--by", "agent"],
        ["trends", "--by", "agent_version"],
        ["trends", "--format", "csv"],
        ["status"],
        ["drift"],
        ["sample", "--dry-run"],
        ["runs", "--task-type", ORDERS],
        ["trends", "--task-type", ORDERS],
        ["trends", "--task-type", "type"],
        ["show", ORDERS],
        ["show", "no such run"],
        ["rubric", "preview", "task_completion", "--run", f"id {ORDERS}"],
    ],
    ids=lambda command: " ".join(command).replace(ORDERS, "ORDERS"),
)
def test_no_order_reaches_the_terminal(hostile: Shell, command: list[str]) -> None:
    said = hostile(*command)
    assert said.code in (0, 2), said
    for text in (said.out, said.err):
        assert not RAW.search(text), RAW.findall(text)


def test_reasons_for_rejecting_a_line_give_no_orders(hostile: Shell) -> None:
    said = hostile("ingest", "-", stdin=lines(a_document("x", status=ORDERS), a_document("y", ended_at=ORDERS)))
    assert said.code == 3
    assert not RAW.search(said.err)
    assert said.err.count("\n") == 3


def test_json_on_a_terminal_is_escaped_and_still_the_same(hostile: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("show", f"id {ORDERS}", "--json")
    plain = hostile(*command)
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    shown = hostile(*command)
    assert shown.json == plain.json
    assert not RAW.search(shown.out)


def test_a_name_cannot_look_like_a_line_of_ours(hostile: Shell) -> None:
    for command in (["trends"], ["trends", "--by", "agent"], ["runs"], ["show", "forged-1"], ["explain", "forged-1"]):
        assert "no finding is open" not in [line.strip() for line in hostile(*command).out.splitlines()]
    assert options.near("refnd", [FORGED, "refund"]).count("\n") == 0


def test_findings_name_hostile_streams_on_one_line() -> None:
    from datetime import date

    from worker.records import Drift, Stream

    found = Drift(
        finding_id=1,
        stream=Stream(FORGED, "completed", "1"),
        direction="down",
        before=0.9,
        after=0.5,
        window_nights=7,
        scored=70,
        z=-5.0,
        chance_per_year=0.02,
        since=date(2026, 11, 1),
        found_night=date(2026, 11, 8),
    )
    assert all("\n" not in line for line in drift.describe(found))
    assert trends_table._name({"task_type": FORGED, "segment": None}, "task_type") == "refund no finding is open"


def test_no_cell_of_a_csv_file_is_a_formula(hostile: Shell) -> None:
    for by in ("task_type", "agent", "agent_version"):
        rows = list(csv.reader(io.StringIO(hostile("trends", "--format", "csv", "--by", by).out)))
        assert len(rows) > 10
        for row in rows:
            for cell in row:
                assert not cell.lstrip().startswith(("=", "+", "@", "＝")), row
                assert not cell.startswith("-"), row
    assert any(cell.startswith("'=HYPERLINK") for row in rows for cell in row) or by == "agent_version"


def test_names_with_dollar_signs_and_orders_are_drawn_as_they_are(hostile: Shell) -> None:
    said = hostile("trends", "--format", "png", "--output", "hostile.png")
    assert said.code == 0, said
    assert (hostile.folder / "hostile.png").read_bytes().startswith(b"\x89PNG")
