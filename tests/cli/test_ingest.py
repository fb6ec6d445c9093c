"""`spotcheck ingest` on both databases: nothing is lost, nothing is stored twice, rejected lines are kept beside."""

import gzip
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson
import pytest

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from worker.cli import rejected
from worker.connectors.sources import registry
from worker.connectors.sources.source import Accepted, Rejected

BINARY = b"\xff\xfe\x00 not text\n"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in an empty folder."""
    return Shell(tmp_path)


def side_lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def counts(said: Any) -> tuple[int, int, int, int]:
    return said["accepted"], said["revised"], said["duplicate"], said["rejected"]


def test_everything_a_source_may_send_wrongly_at_once(tmp_path: Path, database_url: str) -> None:
    shell = Shell(tmp_path, {"SPOTCHECK_DATABASE_URL": database_url})
    named = ("input", "output", "error", "stop_reason", "user_id", "session_id", "trace_id")
    nul = dict.fromkeys(named, "a\0b")
    second = a_document("twice", output="second")
    raw = lines(
        a_document("good"),
        a_document("nul", **nul, steps=[{"kind": "tool", "name": "\0", "result": "\0", "arguments": "\0"}], tag="\0"),
        a_document("emoji 🙂", task_type="日本", output="\u2028\u0085 𝕏"),
        a_document("long", steps=[{"kind": "tool", "name": f"n{number}"} for number in range(20_000)]),
        a_document("big", input_tokens=10**14, cost_usd=1e8, latency_ms=1e12, tags={"n": 2**64 - 1}),
        a_document("twice", output="first"),
        second,
        second,
        {"run_id": "short"},
    )
    said = shell("ingest", "--json", "-", stdin=raw + BINARY + b'{"cut": ')
    assert said.code == 0, said
    assert counts(said.json) == (6, 1, 1, 3)
    assert [line.split(": ")[0] for line in said.err.splitlines()[:3]] == ["stdin:9", "stdin:10", "stdin:11"]
    assert said.err.splitlines()[3] == "3 rejected lines: places and reasons are in stdin.rejected.jsonl"
    assert shell("show", "twice", "--json").json["output"] == "second"
    assert shell("show", "twice", "--json").json["revision"] == 2
    assert len(shell("show", "long", "--json").json["steps"]) == 5_000
    assert shell("show", "nul", "--json").json["output"] == "a\0b"
    assert shell("show", "nul").code == 0
    assert shell("show", "emoji 🙂", "--json").json["output"] == "\u2028\u0085 𝕏"
    again = shell("ingest", "--json", "-", stdin=raw)
    assert counts(again.json)[0] == 0


def test_strict_is_exit_3_and_takes_the_good_lines_all_the_same(shell: Shell) -> None:
    said = shell("ingest", "--strict", "-", stdin=lines(a_document("good"), {"bad": 1}))
    assert said.code == 3
    assert said.out == "1 accepted, 0 revised, 0 known already, 1 rejected\n"
    assert shell("ingest", "--strict", "-", stdin=lines(a_document("good"))).code == 0


def test_the_side_file_has_number_reason_and_an_excerpt(shell: Shell) -> None:
    (shell.folder / "runs.jsonl").write_bytes(lines(a_document("good"), {"bad": "x" * 5_000}) + BINARY)
    said = shell("ingest", "runs.jsonl", "--json")
    assert said.json["rejected_files"] == ["runs.jsonl.rejected.jsonl"]
    one, two = side_lines(shell.folder / "runs.jsonl.rejected.jsonl")
    assert (one["line"], one["reason"]) == (
        2,
        "run_id is missing; task_type is missing; status is missing; ended_at is missing",
    )
    assert one["excerpt"] == '{"bad":"' + "x" * (200 - len('{"bad":"'))
    assert one["file"] == str(shell.folder / "runs.jsonl")
    assert two["excerpt"] == "\ufffd\ufffd\0 not text\n"


def test_the_same_file_again_replaces_its_side_file_and_others_keep_theirs(shell: Shell) -> None:
    for folder in ("a", "b"):
        (shell.folder / folder).mkdir()
        (shell.folder / folder / "runs.jsonl").write_bytes(lines({folder: 1}))
    for _ in range(2):
        said = shell("ingest", "a/runs.jsonl", "b/runs.jsonl", "--json")
        assert said.json["rejected_files"] == ["runs.jsonl.rejected.jsonl", "runs.jsonl.2.rejected.jsonl"]
    first, second = (side_lines(shell.folder / name) for name in said.json["rejected_files"])
    assert [line["excerpt"] for line in first + second] == ['{"a":1}\n', '{"b":1}\n']
    (shell.folder / "a" / "runs.jsonl").write_bytes(lines(a_document("mended")))
    assert shell("ingest", "a/runs.jsonl", "--json").json["rejected_files"] == []


def test_rejected_lines_of_stdin_are_never_overwritten(shell: Shell) -> None:
    for number in range(3):
        shell("ingest", "-", stdin=lines({"number": number}))
    kept = sorted(shell.folder.glob("stdin*.rejected.jsonl"))
    assert sorted(str(line["excerpt"]) for path in kept for line in side_lines(path)) == [
        f'{{"number":{number}}}\n' for number in range(3)
    ]


def test_one_reason_of_many_lines_is_said_once_with_its_number_and_first_lines(shell: Shell) -> None:
    raw = b"nope\n" * 2 + lines(a_document("good")) + b"nope\n" * 48
    said = shell("ingest", "-", stdin=raw + lines(*(a_document("bad", status=f"done {n}") for n in range(3))))
    one, two, three, _ = said.err.splitlines()  # the last is about costs
    assert one.startswith("stdin:1: not JSON: ")
    assert one.endswith("; likewise 49 more lines (2, 4, …)")
    assert two.startswith("stdin:52: status is 'done 0', which is none of completed, errored, ")
    assert two.endswith("; likewise 2 more lines (53, 54)")
    assert three == "53 rejected lines: places and reasons are in stdin.rejected.jsonl"
    assert len(side_lines(shell.folder / "stdin.rejected.jsonl")) == 53


def test_of_many_reasons_the_ten_most_frequent_are_said_and_json_has_all(shell: Shell) -> None:
    wrong = ("status", "run_id", "task_type", "ended_at")
    values: tuple[object, ...] = ([], {}, True)
    bad = [{**a_document("bad"), name: value} for name in wrong for value in values]
    said = shell("ingest", "-", "--json", stdin=lines(*bad, bad[-1]))
    assert len(said.json["reasons"]) == 12
    assert said.json["reasons"][0]["lines"] == [1]
    assert said.err.splitlines()[9] == (
        "stdin:12: ended_at is True, which is no time; write it like 2026-11-23T14:02:00Z; likewise 1 more line (13)"
    )
    assert said.err.splitlines()[10] == "… and 2 more reasons (2 lines); --json has every reason"


def test_the_rejects_file_is_bounded_in_lines_and_bytes(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.folder / "runs.jsonl").write_bytes(b"x" * 10_000 + b"\n" + b'{"bad": 1}\n' * 30_000)
    said = shell("ingest", "runs.jsonl")
    assert said.err.splitlines()[-1] == (
        "the first 10,000 of 30,001 rejected lines: places and reasons are in runs.jsonl.rejected.jsonl"
    )
    side = shell.folder / "runs.jsonl.rejected.jsonl"
    assert len(side_lines(side)) == 10_000
    monkeypatch.setattr(rejected, "MOST_BYTES", 3_000)
    assert shell("ingest", "runs.jsonl").code == 3
    assert 3_000 <= side.stat().st_size < 4_000


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "hard link", "folder"])
def test_the_rejects_file_is_a_new_file_whatever_has_its_name(shell: Shell, kind: str) -> None:
    """Nothing is written through a link or to a pipe, and none is opened: without a writer it would never answer."""
    (shell.folder / "runs.jsonl").write_bytes(b"nope\n")
    victim = shell.folder / "victim"
    victim.write_bytes(orjson.dumps({"file": str(shell.folder / "runs.jsonl")}) + b"\n")
    before = victim.read_bytes()
    side = shell.folder / "runs.jsonl.rejected.jsonl"
    if kind == "link":
        side.symlink_to(victim)
    elif kind == "dangling":
        side.symlink_to(shell.folder / "made")
    elif kind == "fifo":
        os.mkfifo(side)
    elif kind == "folder":
        side.mkdir()
    else:
        os.link(victim, side)
    (other,) = shell("ingest", "runs.jsonl", "--json").json["rejected_files"]
    assert other == (side.name if kind == "hard link" else "runs.jsonl.2.rejected.jsonl")
    assert victim.read_bytes() == before
    assert not (shell.folder / "made").exists()
    assert [line["line"] for line in side_lines(shell.folder / other)] == [1]


def test_a_device_or_a_pipe_is_not_read_by_surprise(shell: Shell) -> None:
    """`ingest *` names whatever lies there: a pipe waits for its writer, and a device may never end."""
    (shell.folder / "good.jsonl").write_bytes(lines(a_document("good")))
    os.mkfifo(shell.folder / "pipe")
    (shell.folder / "zero.jsonl").symlink_to("/dev/zero")
    assert "pipe is a pipe, which waits for its writer" in shell.refused("ingest", "good.jsonl", "pipe")
    assert "zero.jsonl is a device or a socket, not a file" in shell.refused("ingest", "zero.jsonl")
    assert shell("ingest", "/dev/null").out == "nothing to take: the input is empty\n"
    assert shell("runs", "--json").json["runs"] == []


def test_what_was_not_understood_is_named_once_an_intake_with_what_was_probably_meant(shell: Shell) -> None:
    step = {"type": "LLM", "lattency_ms": 5, "tokens_in": 7}
    for name in ("one", "two"):
        many = (
            a_document(f"{name}-{n}", steps=[step], csat=4, cost_usd="$0.01", latency_ms="soon") for n in range(600)
        )
        (shell.folder / f"{name}.jsonl").write_bytes(lines(*many))
    said = shell("ingest", "one.jsonl", "two.jsonl")
    assert said.out == "1,200 accepted, 0 revised, 0 known already, 0 rejected\n"
    assert said.err.splitlines() == [
        "read under another name: steps' kind LLM as model (1,200), steps' tokens_in as input_tokens (1,200), "
        "steps' type as kind (1,200)",
        "1,200 runs have latency_ms that cannot be read, like 'soon': left out",
        "1,200 steps have `lattency_ms`, which is not a field and is left out; "
        "did you mean duration_ms (milliseconds)?",
        "kept as tags: csat (1,200)",
    ]
    run = shell("show", "one-1", "--json").json
    assert (run["cost_usd"], run["latency_ms"], run["steps"][0]["input_tokens"]) == (0.01, None, 7)
    notices = shell("ingest", "one.jsonl", "--json").json["notices"]
    assert {"what": "unknown", "where": "step", "name": "lattency_ms", "detail": "", "count": 600} | {
        "did_you_mean": "duration_ms"
    } in notices


def test_what_runs_lack_to_be_judged_or_priced_is_counted(shell: Shell) -> None:
    """Nothing else would say so: a night of such runs is scored as if nobody had answered."""
    no_text = {"input": None, "output": None, "cost_usd": 0.01}
    chat = {**no_text, "messages": [{"role": "user", "content": "hi"}], "choices": [{"message": {"content": "x"}}]}
    tokens = {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    said = shell(
        "ingest",
        "-",
        stdin=lines(
            *(a_document(f"chat-{n}", **chat) for n in range(3)),
            a_document("no answer", **(no_text | {"input": "Refund?"})),
            a_document("failed", **(no_text | {"input": "Refund?", "status": "errored"})),
            a_document("tokens", **tokens),
            a_document("no price", **(tokens | {"model": "nobody-knows-1"})),
            a_document("no cost", tags=["a"]),
        ),
    )
    assert said.err.splitlines() == [
        "read under another name: runs' usage as tokens (2)",
        "1 run has `tags` that is no object: kept as a tag of that name",
        "3 runs have neither input nor output, and cannot be judged",
        "1 run has no cost_usd, and no model with both counts of tokens for every call: the cost is unknown",
        "1 completed run has no output, which counts as no answer",
        "runs without cost_usd, priced by their tokens: gpt-4o-mini (1)",
        "runs whose cost stays unknown, of models without a price: nobody-knows-1 (1); give it in [judge.prices.MODEL]",
        "3 runs have `choices`, which is not a field and is kept as a tag; did you mean output?",
        "3 runs have `messages`, which is not a field and is kept as a tag; did you mean input?",
    ]


def test_a_unit_is_said_where_a_number_was_brought_to_ours_or_where_it_is_asked_about(shell: Shell) -> None:
    one = a_document("a", cost_cents=3, latency_s=1.5)
    two = a_document("b", latency=1.5, cost_usd=1, tokens_in=1, input_tokens=1, id="x")
    assert shell("ingest", "-", stdin=lines(one, two)).err.splitlines() == [
        "read under another name: runs' cost_cents × 0.01 as cost_usd (1), runs' latency_s × 1,000 as latency_ms (1)",
        "1 run has `latency`, which is not a field and is kept as a tag; did you mean latency_ms (milliseconds)?",
        "kept as tags: id (1), tokens_in (1)",
    ]


def test_an_empty_file_among_several_is_named(shell: Shell) -> None:
    (shell.folder / "a.jsonl").write_bytes(lines(a_document("a", cost_usd=1)))
    (shell.folder / "empty.jsonl").write_bytes(b"\n")
    said = shell("ingest", "a.jsonl", "empty.jsonl")
    assert (said.code, said.err) == (0, "empty.jsonl: the input is empty\n")


def test_a_wrong_name_among_several_is_told_before_anything_is_taken(shell: Shell) -> None:
    (shell.folder / "good.jsonl").write_bytes(lines(a_document("good")))
    assert "nope.jsonl does not exist" in shell.refused("ingest", "good.jsonl", "nope.jsonl")
    assert list(shell.folder.iterdir()) == [shell.folder / "good.jsonl"]


def test_gzip_files_and_plain_ones_may_be_mixed(shell: Shell) -> None:
    (shell.folder / "one.jsonl").write_bytes(lines(a_document("one")))
    (shell.folder / "two.jsonl.gz").write_bytes(gzip.compress(lines(a_document("two"))))
    said = shell("ingest", "one.jsonl", "two.jsonl.gz", "-", "--json", stdin=gzip.compress(lines(a_document("three"))))
    assert counts(said.json) == (3, 0, 0, 0)


def test_a_gzip_file_cut_short_keeps_what_came_before(shell: Shell) -> None:
    packed = gzip.compress(lines(*(a_document(f"r-{number}") for number in range(500))))
    (shell.folder / "cut.gz").write_bytes(packed[: len(packed) // 2])
    said = shell("ingest", "cut.gz", "--json")
    assert said.json["accepted"] > 100
    assert said.json["rejected"] == 1
    assert "the gzip stream breaks off here" in said.err


def test_an_empty_file_says_so(shell: Shell) -> None:
    (shell.folder / "empty.jsonl").write_bytes(b"")
    assert shell("ingest", "empty.jsonl").out == "nothing to take: the input is empty\n"
    assert counts(shell("ingest", "empty.jsonl", "--json").json) == (0, 0, 0, 0)


def test_a_file_that_has_a_header_and_no_run_is_not_called_empty(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Headed:
        """A source whose files begin with a header."""

        name = "headed"

        def looks_like(self, beginning: bytes) -> bool:
            return beginning.startswith(b"run_id,")

        def read(self, stream: IO[bytes], **_: object) -> Iterator[Accepted | Rejected]:
            assert stream.readline() == b"run_id,status\n"
            return iter(())

    monkeypatch.setattr(registry, "SOURCES", (Headed(), *registry.SOURCES))
    (shell.folder / "only.csv").write_bytes(b"run_id,status\n")
    (shell.folder / "empty.csv").write_bytes(b"\n")
    said = shell("ingest", "only.csv", "empty.csv")
    assert (said.code, said.out) == (0, "nothing to take: there is a header, and no run below it\n")
    assert shell("ingest", "empty.csv").out == "nothing to take: the input is empty\n"
    line = shell.refused("ingest", "--format", "haeded", "only.csv")
    assert line == "spotcheck: --format 'haeded' is not known; use auto, headed or jsonl; did you mean headed?"


def test_a_named_pipe_is_opened_only_once(shell: Shell) -> None:
    pipe = shell.folder / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_bytes, args=(lines(a_document("piped")),))
    writing.start()
    said = shell("ingest", "pipe", "--json")
    writing.join()
    assert counts(said.json) == (1, 0, 0, 0)


def test_where_the_side_file_cannot_be_written_nothing_is_dropped_in_silence(shell: Shell, tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    runs.write_bytes(lines({"bad": 1}))
    elsewhere = Shell(Path("/proc"), {"SPOTCHECK_DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"})
    said = elsewhere("ingest", runs)
    assert said.code == 2
    assert "runs.jsonl.rejected.jsonl cannot be written" in said.err
    assert "rejected lines must not be lost" in said.err
