"""Run files of every wrong kind: each bad line is one line and kept, the rest is taken, --strict exits 3."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.documents import a_document, lines
from tests.support.restricted_files import mode
from tests.support.shell import Said, Shell
from tests.support.stocked_project import ids


def a_raw(field: bytes, run_id: str = "bad", **over: Any) -> bytes:
    """A run line with one more member, written as it stands."""
    return orjson.dumps(a_document(run_id, **over))[:-1] + b"," + field + b"}\n"


def kept(shell: Shell, name: str = "runs.jsonl.rejected.jsonl") -> Iterator[tuple[int, str]]:
    """Number and excerpt of each rejected line."""
    for line in (shell.folder / name).read_bytes().splitlines():
        one = orjson.loads(line)
        yield one["line"], one["excerpt"]


def ingest(shell: Shell, raw: bytes) -> Said:
    (shell.folder / "runs.jsonl").write_bytes(raw)
    return shell("ingest", "runs.jsonl", "--strict", "--json")


DEEP = 10_000
BAD = {
    "broken": (b'{"run_id": "r", "task_type"\n', "not JSON: "),
    "no object": (b'"text"\n', "not an object but a string"),
    "wrong type": (lines(a_document("bad", status=["completed"])), "status is ['completed']"),
    "missing field": (lines({"run_id": "bad", "status": "completed"}), "task_type is missing"),
    "future": (lines(a_document("bad", ended_at="2999-01-01T00:00:00Z")), "lies in the future"),
    "ancient": (lines(a_document("bad", ended_at="1970-01-01T00:00:00Z")), "a clock that was never set?"),
    "naive": (lines(a_document("bad", ended_at="2026-11-20T14:02:41")), "has no time zone; write it like"),
    "deep list": (b"[" * DEEP + b"]" * DEEP + b"\n", "nested too deeply"),
    "deep object": (b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"\n", "nested too deeply"),
    "deep field": (a_raw(b'"input":' + b"[" * DEEP + b"]" * DEEP), "nested too deeply"),
    "raw NUL": (b"\0\0\0\0\n", "not JSON: "),
    "NUL in the id": (lines(a_document("b\0d")), "run_id holds a NUL character"),
    "id of 1 MB": (lines(a_document("x" * 1_000_000)), "run_id is 'xxx"),
    "empty id": (lines(a_document("")), "run_id is empty"),
    "blank id": (lines(a_document(" \t")), "run_id is blank"),
    "empty task type": (lines(a_document("bad", task_type="")), "task_type is empty"),
    "blank task type": (lines(a_document("bad", task_type="  ")), "task_type is blank"),
    "start of an array": (b"[\n", "one array over several lines? jq -c '.[]' makes a line of each run"),
    "start of an object": (b"{\n", "one run over several lines? jq -c . makes one line of it"),
    "binary": (b"\x89PNG\r\x1a\x00\xff\xfe\n", "not UTF-8 text: byte 0x89 at position 0"),
}

MENDED = {
    "wrong steps": lines(a_document("bad", steps={"0": {}})),
    "half a surrogate pair": a_raw(b'"output":"\\ud83d"'),
    "surrogate in bytes": a_raw(b'"output":"\xed\xa0\xbd"'),
    "NaN": a_raw(b'"cost_usd":NaN'),
    "Infinity": a_raw(b'"cost_usd":-Infinity'),
    "1e999": a_raw(b'"cost_usd":1e999'),
    "huge float": a_raw(b'"cost_usd":1e300'),
    "huge int": a_raw(b'"input_tokens":1' + b"0" * 30),
    "int of 5,000 digits": a_raw(b'"input_tokens":' + b"9" * 5_000),
    "a BOM in the middle": b"\xef\xbb\xbf" + lines(a_document("bad")),
    "a price in words": lines(a_document("bad", cost_usd="free", latency_ms="soon")),
    "a price with its sign": lines(a_document("bad", cost_usd="$0.031", latency_ms="1.2s")),
    "no error, said": lines(a_document("bad", error="None", steps=[{"kind": "TOOL", "error": "null"}])),
    "a foreign byte": a_raw(b'"output":"caf\xe9"'),
}
"""Lines of which everything that makes a run can be read."""
SURE = ("a BOM in the middle", "a price with its sign")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, Said]:
    """One file with every bad line between good ones, taken in once."""
    shell = Shell(tmp_path_factory.mktemp("mixed"))
    raw = lines(a_document("good-0"))
    for number, (bad, _) in enumerate(BAD.values(), start=1):
        raw += bad + lines(a_document(f"good-{number}"))
    return shell, ingest(shell, raw)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_kept_with_its_number_and_one_line_why(mixed: tuple[Shell, Said], name: str) -> None:
    bad, said = BAD[name]
    place = list(BAD).index(name)
    side = (mixed[0].folder / "runs.jsonl.rejected.jsonl").read_bytes().splitlines()
    one = orjson.loads(side[place])
    assert one["line"] == 2 * place + 2
    assert said in one["reason"]
    assert len(one["reason"]) < 250
    assert "\n" not in one["reason"]
    assert dict(kept(mixed[0]))[2 * place + 2] == bad[:200].decode("utf-8", "replace")


def test_the_lines_between_bad_ones_are_all_taken_and_strict_exits_3(mixed: tuple[Shell, Said]) -> None:
    shell, answer = mixed
    assert answer.code == 3
    assert answer.json["rejected"] == len(BAD)
    assert ids(shell) == sorted(f"good-{number}" for number in range(len(BAD) + 1))
    assert len(answer.err.splitlines()) == 12, "ten reasons, how many more there are, and where they are named"
    assert shell("ingest", "runs.jsonl").code == 0, "without --strict rejected lines are no failure"


@pytest.mark.parametrize("name", MENDED)
def test_a_line_with_identity_status_and_time_is_a_run_whatever_else_it_holds(shell: Shell, name: str) -> None:
    answer = ingest(shell, MENDED[name])
    assert (answer.code, answer.json["accepted"], answer.json["reasons"]) == (0, 1, []), answer.err
    assert answer.json["notices"] or name in SURE, "it is told what was not read as it stands"
    assert ids(shell) == ["bad"]
    (night,) = {run["night"] for run in shell("runs", "--json").json["runs"]}
    assert shell("nightly", "--date", night, "--wait").code == 0
    assert shell("show", "bad").code == 0


def test_two_ids_that_reading_would_round_to_one_are_not_mixed_up(shell: Shell) -> None:
    numbers = (b"123456789012345678901", b"123456789012345678902")
    raw = b"".join(orjson.dumps(a_document("id")).replace(b'"id"', number) + b"\n" for number in numbers)
    answer = ingest(shell, raw + orjson.dumps(a_document("id")).replace(b'"id"', b"18446744073709551615"))
    assert answer.json["rejected"] == 2
    assert "run_id is the number 1.23457e+20, too large to be read exactly; send it as text" in answer.err
    assert ids(shell) == ["18446744073709551615"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_utf_16_is_told_as_such_in_one_line(shell: Shell, encoding: str) -> None:
    raw = lines(a_document("one"), a_document("two")).decode().encode(encoding)
    answer = ingest(shell, raw)
    assert answer.code == 3
    assert answer.err.startswith("runs.jsonl: this looks like UTF-16; run files are UTF-8")
    assert (answer.err.count("\n"), answer.json["rejected_files"]) == (1, [])


def test_a_byte_order_mark_and_carriage_returns_are_taken(shell: Shell) -> None:
    raw = b"\xef\xbb\xbf" + lines(a_document("one"), a_document("two")).replace(b"\n", b"\r\n")
    assert ingest(shell, raw).code == 0
    assert ids(shell) == ["one", "two"]


def test_a_binary_file_names_the_place_of_every_line(shell: Shell) -> None:
    raw = bytes(range(256)) * 40
    answer = ingest(shell, raw)
    assert answer.code == 3
    assert answer.json["accepted"] == 0
    assert [number for number, _ in kept(shell)] == list(range(1, answer.json["rejected"] + 1))
    assert all(len(excerpt) <= 200 for _, excerpt in kept(shell))


@pytest.mark.parametrize("raw", [b"", b"\n\n \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_no_failure(shell: Shell, raw: bytes) -> None:
    answer = ingest(shell, raw)
    assert (answer.code, answer.json["accepted"], answer.err) == (0, 0, "")


@pytest.mark.parametrize("cut", [2, 5, 12, 100, -1])
def test_gzip_that_is_cut_off_or_is_none_is_one_line(shell: Shell, cut: int) -> None:
    packed = gzip.compress(b"".join(lines(a_document(f"r-{number}")) for number in range(50)))
    for raw in (packed[:cut], packed[:2] + b"no gzip behind it"):
        answer = ingest(shell, raw)
        assert answer.code == 3
        assert answer.json["rejected"] == 1
        first, _ = answer.err.splitlines()
        assert "the gzip stream breaks off here" in first


def test_a_file_behind_good_gzip_that_is_none_is_told_and_what_came_before_is_taken(shell: Shell) -> None:
    answer = ingest(shell, gzip.compress(lines(a_document("one"))) + lines(a_document("two")))
    assert answer.code == 3
    assert ids(shell) == ["one"]


def test_a_file_that_breaks_off_while_it_is_read_keeps_what_came_before(shell: Shell) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("no file here that opens and cannot be read")
    answer = shell("ingest", "/proc/self/mem", "--strict")
    assert answer.code == 3
    assert answer.err.startswith("/proc/self/mem:1: the file breaks off here (Input/output error); the lines before it")


def test_a_folder_a_loop_and_a_file_without_rights_are_told_before_anything_is_taken(shell: Shell) -> None:
    (shell.folder / "good.jsonl").write_bytes(lines(a_document("good")))
    (shell.folder / "folder").mkdir()
    (shell.folder / "loop").symlink_to("loop")
    closed = shell.folder / "closed.jsonl"
    closed.write_bytes(lines(a_document("closed")))
    assert "folder is a folder; name the files in it" in shell.refused("ingest", "good.jsonl", "folder")
    assert "loop cannot be read: Too many levels of symbolic links" in shell.refused("ingest", "good.jsonl", "loop")
    assert "a␀b cannot be read" in shell.refused("ingest", "good.jsonl", "a\0b")
    with mode(closed, 0):
        assert "closed.jsonl cannot be read" in shell.refused("ingest", "closed.jsonl")
    assert ids(shell) == []


def test_a_file_that_vanishes_between_two_is_one_line_and_the_first_is_taken(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (shell.folder / f"{name}.jsonl").write_bytes(lines(a_document(name)))
    from worker.cli.commands import ingest as door

    def look_and_lose(path: str, **_: object) -> None:
        if path == "two.jsonl":
            Path(path).rename("moved.jsonl")

    monkeypatch.setattr(door, "_check_path", look_and_lose)  # it was there a moment ago
    assert "two.jsonl cannot be read: No such file or directory" in shell.refused("ingest", "one.jsonl", "two.jsonl")
    monkeypatch.undo()
    assert ids(shell) == ["one"]
    assert shell("ingest", "one.jsonl", "moved.jsonl", "--json").json["accepted"] == 1


def test_one_id_twice_is_one_run_when_it_is_the_same_and_a_revision_when_it_differs(shell: Shell) -> None:
    same, other = a_document("twice", output="first"), a_document("twice", output="second")
    answer = ingest(shell, lines(same, same, other, other, same))
    assert answer.code == 0
    assert answer.json["accepted"] == 1
    assert answer.json["revised"] == 1
    assert answer.json["duplicate"] == 3
    assert ids(shell) == ["twice"]
    assert shell("show", "twice", "--json").json["output"] == "second"


def test_of_a_key_that_stands_twice_the_last_counts_as_everywhere(shell: Shell) -> None:
    raw = a_raw(b'"run_id":"last","output":"second"', "first", output="first")
    assert json.loads(raw)["run_id"] == "last"
    assert ingest(shell, raw).code == 0
    assert ids(shell) == ["last"]
    assert shell("show", "last", "--json").json["output"] == "second"


@pytest.mark.parametrize(("sent", "stored", "content"), [(5_000, 5_000, "full"), (50_000, 5_000, "partial")])
def test_a_run_of_thousands_of_steps_is_taken_and_its_middle_left_out(
    shell: Shell, sent: int, stored: int, content: str
) -> None:
    steps = [{"kind": "tool", "name": f"t{number}", "arguments": {"n": number}} for number in range(sent)]
    assert ingest(shell, lines(a_document("long", steps=steps))).code == 0
    run = shell("show", "long", "--json").json
    assert (len(run["steps"]), run["content"]) == (stored, content)
    assert (run["steps"][0]["name"], run["steps"][-1]["name"]) == ("t0", f"t{sent - 1}")


def test_a_run_of_thousands_of_steps_is_scored_shown_and_cut_to_a_judges_budget(shell: Shell) -> None:
    steps = [{"kind": "tool", "name": f"t{number}", "arguments": {"n": number}} for number in range(5_000)]
    assert ingest(shell, lines(a_document("long", steps=steps))).code == 0
    night = shell("runs", "--json").json["runs"][0]["night"]
    assert shell("nightly", "--date", night, "--wait", "--json").json["open"] == 0
    seen = shell("rubric", "preview", "task_completion", "--run", "long", "--json").json
    assert seen["elided"]
    assert "t4999" in shell("show", "long").out


def test_control_characters_in_a_name_on_the_command_line_stay_words(shell: Shell) -> None:
    assert "\x1b" not in shell.refused("ingest", "a\x1b[2Jb")
    assert os.listdir(shell.folder) == []  # noqa: PTH208 also what a Path would pass over
