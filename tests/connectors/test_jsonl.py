"""Run files: every bad line is one line with its number, the rest goes on, in memory that does not grow."""

import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.source_contract import SourceContract
from worker.connectors.sources import jsonl
from worker.connectors.sources.lines import lines
from worker.connectors.sources.source import EXCERPT_BYTES, Accepted, Rejected
from worker.settings.sections_sampling import IntakeSection

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LIMITS = IntakeSection()


def a_line(number: int = 1, **over: Any) -> bytes:
    fields = {"run_id": f"r-{number}", "task_type": "refund", "status": "completed", "ended_at": "2026-11-20T14:02:41Z"}
    return orjson.dumps({**fields, **over}) + b"\n"


class TestJsonLines(SourceContract):
    source = jsonl
    good = b'{"run_id": "r-1", "task_type": "refund", "status": "completed", "ended_at": "2026-11-20T14:02:41Z"}\n' + (
        b'{"run_id": "r-2", "task_type": "refund", "status": "errored", "ended_at": "2026-11-20T15:02:41Z"}\n'
    )
    bad = b"\nno run\n".join(good.splitlines()) + b"\n"


def read(raw: bytes, limits: IntakeSection = LIMITS) -> list[Accepted | Rejected]:
    return list(jsonl.read(io.BytesIO(raw), now=NOW, limits=limits))


def accepted(items: list[Accepted | Rejected]) -> list[str]:
    return [item.parsed.run.run_id for item in items if isinstance(item, Accepted)]


def rejected(items: list[Accepted | Rejected]) -> list[tuple[int, str]]:
    return [(item.number, item.reason) for item in items if isinstance(item, Rejected)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b'{"run_id": "r-1",\n', "not JSON: "),
        (b"no json at all\n", "not JSON: "),
        (b'{"run_id": NaN}\n', "run_id is missing"),
        (b'{"cost_usd": 1e400}\n', "run_id is missing"),
        (a_line(run_id="@").replace(b"@", b"\\ud800"), "run_id holds half a character, or bytes that are not UTF-8"),
        (a_line(run_id="@").replace(b"@", b"\\ud800\\u0041"), "run_id holds half a character"),
        (a_line(run_id="@").replace(b"@", b"\xed\xa0\x80"), "run_id holds half a character"),
        (a_line(task_type="@").replace(b"@", b"\xe9"), "task_type holds half a character"),
        (b"{'run_id': 'r-1'}\n", "in single quotes this is Python's repr, and json.dumps writes JSON"),
        (a_line(5).strip() + a_line(6), "several objects on one line? jq -c . makes a line of each"),
        (b'{"resourceSpans": []}\n', "this is an OTLP export (resourceSpans), no run: Spotcheck reads one run a line"),
        (b"\x89PNG\r\n", "not UTF-8 text: byte 0x89 at position 0"),
        (b"\x00\x01\x02\n", "not JSON: "),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b'{"a":' * 1_000 + b"1" + b"}" * 1_000 + b"\n", "nested too deeply"),
        (b'{"a":' * 300 + b"1" + b"}" * 300 + b"\n", "nested too deeply"),
        (b'{"x": NaN, "a":' + b"[" * 5_000 + b"]" * 5_000 + b"}\n", "nested too deeply"),
        (b'{"x": "\\ud83d", "a":' + b"[" * 700 + b"]" * 700 + b"}\n", "nested too deeply"),
        (b"[1, 2]\n", "not an object but a list; a run is one JSON object a line"),
        (b"null\n", "not an object but null"),
        (b"{}\n", "is missing"),
        (a_line(status="done"), "status is 'done'"),
        (a_line(ended_at="2026-11-20T14:02:41"), "has no time zone"),
        (a_line(run_id="a\0b"), "run_id holds a NUL character"),
    ],
)
def test_a_bad_line_is_rejected_with_its_number_and_the_others_are_taken(bad: bytes, said: str) -> None:
    items = read(a_line(1) + b"\n" + bad + a_line(2))
    assert accepted(items) == ["r-1", "r-2"]
    [(number, reason)] = rejected(items)
    assert number == 3
    assert said in reason
    assert "\n" not in reason
    assert [item.raw for item in items if isinstance(item, Rejected)] == [bad[:EXCERPT_BYTES]]


@pytest.mark.parametrize(
    ("sent", "output"),
    [
        (b"thanks \\ud83d", "thanks \ufffd"),
        (b"\\ude00 thanks \\ud83d\\ude00 \\ud83d", "\ufffd thanks 😀 \ufffd"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xed\xa0\xbd thanks", "\ufffd\ufffd\ufffd thanks"),
        (b"tab\there \x01", "tab\there \x01"),
    ],
)
def test_a_text_that_other_writers_let_pass_is_taken_with_what_can_be_read_of_it(sent: bytes, output: str) -> None:
    (item,) = read(a_line(output="@").replace(b"@", sent))
    assert isinstance(item, Accepted)
    assert item.parsed.run.output == output
    assert orjson.loads(item.parsed.payload)["output"] == output


def test_lines_of_an_array_with_their_commas_and_marks_of_json_sequences_are_taken() -> None:
    raw = a_line(1) + a_line(2).strip() + b",\r\n" + b"\x1e" + a_line(3)
    assert accepted(read(raw)) == ["r-1", "r-2", "r-3"]


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"Infinity", b"1e999", b"-1e999", b"9" * 5_000])
@pytest.mark.parametrize("place", ["cost_usd", "reward", "input", "duration_ms", "arguments", "tags"])
def test_a_number_that_is_none_is_null_wherever_it_stands(number: bytes, place: str) -> None:
    over: dict[str, Any] = {
        **dict.fromkeys(("cost_usd", "reward"), "@"),
        "input": {"deep": [1, "@"]},
        "tags": {"a": "@"},
        "steps": [{"kind": "tool", "duration_ms": "@"}, {"kind": "tool", "arguments": ["@"]}],
    }
    where = over if place in over else over["steps"][1 if place == "arguments" else 0]
    sent = orjson.dumps({"run_id": "r-1", "task_type": "t", "status": "completed", "ended_at": "2026-11-20T14:02:41Z"})
    field = orjson.dumps({"steps": [where]} if place in ("duration_ms", "arguments") else {place: where[place]})
    (item,) = read(sent[:-1] + b"," + field[1:].replace(b'"@"', number) + b"\n")
    assert isinstance(item, Accepted)
    assert item.parsed.run.cost_usd is None
    assert [notice.what for notice in item.parsed.notices if notice.name.startswith("NaN")] == ["mended"]
    assert b"NaN" not in item.parsed.payload


@pytest.mark.parametrize("raw", [b"", b"\n", b"  \n\r\n\t", gzip.compress(b"", mtime=0)])
def test_an_empty_input_is_nothing(raw: bytes) -> None:
    assert read(raw) == []


def test_the_last_line_needs_no_end_and_others_may_end_in_carriage_returns() -> None:
    assert accepted(read(a_line(1).replace(b"\n", b"\r\n") + a_line(2).rstrip())) == ["r-1", "r-2"]


def test_a_byte_order_mark_before_the_first_line_is_passed_over() -> None:
    assert accepted(read(b"\xef\xbb\xbf" + a_line(1))) == ["r-1"]
    assert accepted(read(a_line(1) + b"\xef\xbb\xbf" + a_line(2))) == ["r-1", "r-2"], "where files were joined, too"


def test_gzip_is_told_by_its_first_bytes_and_may_have_several_members() -> None:
    assert accepted(read(gzip.compress(a_line(1)) + gzip.compress(a_line(2)))) == ["r-1", "r-2"]


def test_a_gzip_stream_cut_short_gives_every_whole_line_before_the_cut() -> None:
    raw = b"".join(a_line(number, input=f"{number * 7919}") for number in range(2_000))
    packed = gzip.compress(raw)
    for length in (3, 15, len(packed) // 3, len(packed) - 9, len(packed) - 4):
        items = read(packed[:length])
        assert accepted(items) == [f"r-{number}" for number in range(len(items) - 1)]
        assert isinstance(items[-1], Rejected)
        assert "the gzip stream breaks off here" in items[-1].reason
    assert len(accepted(read(packed[: len(packed) - 9]))) == 2_000


def test_a_damaged_gzip_stream_ends_in_one_line() -> None:
    packed = bytearray(gzip.compress(b"".join(a_line(number) for number in range(2_000)), mtime=0))
    packed[len(packed) // 2 : len(packed) // 2 + 20] = bytes(20)
    items = read(bytes(packed))
    assert accepted(items)[:10] == [f"r-{number}" for number in range(10)]
    assert isinstance(items[-1], Rejected)


@pytest.mark.parametrize("raw", [b"\x1f\x8b", b"\x1f\x8b\x08garbage", b"\x1f\x8bnot gzip\n"])
def test_what_only_looks_like_gzip_is_one_line(raw: bytes) -> None:
    [item] = read(raw)
    assert isinstance(item, Rejected)


class Stream(io.RawIOBase):
    """Bytes made when they are asked for; it knows how far it was read."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._left = parts, b""
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = next(self._parts, b"")
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        self.given += len(part)
        return len(part)


def test_lines_are_given_as_they_come_and_little_is_read_ahead() -> None:
    stream = Stream(a_line(number, input="x" * 2_000) for number in range(100_000))
    length = len(a_line(1, input="x" * 2_000))
    items = jsonl.read(io.BufferedReader(stream), now=NOW, limits=LIMITS)
    for count, _ in zip(range(1, 51), items, strict=False):
        assert stream.given <= count * (length + 5) + io.DEFAULT_BUFFER_SIZE


def test_a_pipe_that_stays_open_does_not_hold_back_what_came() -> None:
    def slowly() -> Iterator[bytes]:
        yield a_line(1)
        raise AssertionError("the first line was enough")

    first = next(iter(jsonl.read(io.BufferedReader(Stream(slowly())), now=NOW, limits=LIMITS)))
    assert isinstance(first, Accepted)


def test_a_line_of_fifty_megabytes_is_rejected_in_bounded_memory_and_the_next_is_taken() -> None:
    def parts() -> Iterator[bytes]:
        yield a_line(1)
        yield b'{"run_id": "'
        for _ in range(50):
            yield b"x" * 1_000_000
        yield b'"}\n'
        yield a_line(2)

    limits = IntakeSection(max_line_bytes=2_000_000)
    items = list(jsonl.read(io.BufferedReader(Stream(parts())), now=NOW, limits=limits))
    assert accepted(items) == ["r-1", "r-2"]
    [(number, reason)] = rejected(items)
    assert (number, reason) == (2, "longer than 2,000,000 bytes (setting intake.max_line_bytes)")
    assert all(len(item.raw) <= EXCERPT_BYTES for item in items if isinstance(item, Rejected))
    assert items[-1].number == 3


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_the_longest_line_is_the_longest_line(extra: int) -> None:
    limits = IntakeSection(max_line_bytes=1_000)
    pad = 1_000 - len(a_line(1, input="")) + 1 + extra
    items = read(a_line(1, input="x" * pad) + a_line(2), limits)
    assert accepted(items) == (["r-1", "r-2"] if not extra else ["r-2"])


def test_an_endless_line_without_end_is_one_rejected_line() -> None:
    items = read(b"x" * 5_000, IntakeSection(max_line_bytes=1_000))
    assert rejected(items) == [(1, "longer than 1,000 bytes (setting intake.max_line_bytes)")]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | st.just(a_line().rstrip()), max_size=8))
def test_any_bytes_give_accepted_or_rejected_lines_and_no_line_is_lost(chunks: list[bytes]) -> None:
    parts = [chunk.replace(b"\n", b" ") for chunk in chunks]
    raw = b"\n".join([b"{}", *parts])
    items = read(raw)
    wanted = [number for number, part in enumerate([b"{}", *parts], start=1) if part.strip()]
    assert [item.number for item in items] == wanted
    good = a_line().rstrip()
    assert len(accepted(items)) == sum(part.strip() == good for part in parts)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_behind_a_gzip_mark_end_without_an_exception(tail: bytes) -> None:
    read(b"\x1f\x8b\x08\x00" + tail)


def test_lines_that_are_blank_count_and_are_given_where_they_say_something() -> None:
    raw = b"a\n\n \nb"
    assert [(line.number, line.raw) for line in lines(io.BytesIO(raw), 100)] == [(1, b"a\n"), (4, b"b")]
    kept = [line.raw for line in lines(io.BytesIO(raw), 100, keeps_blank=True)]
    assert kept == [b"a\n", b"\n", b" \n", b"b"]
