"""What every source keeps to. Inherit it in the source's test, and say which source and what its files look like."""

import gzip
import io
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.connectors.sources import registry
from worker.connectors.sources.source import Accepted, Rejected, Source
from worker.settings.sections_sampling import IntakeSection

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LIMITS = IntakeSection()
TIGHT = IntakeSection(max_line_bytes=10_000)

Records = list[Accepted | Rejected]


class EndlessRecord(io.RawIOBase):
    """One record that does not end within a number of bytes, made as it is read."""

    def __init__(self, start: bytes, size: int) -> None:
        self._start, self._left = start, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._start[: len(buffer)] or b"x" * min(len(buffer), self._left)
        self._start = self._start[len(part) :]
        self._left -= len(part)
        buffer[: len(part)] = part
        return len(part)


class Breaking(io.RawIOBase):
    """A stream that breaks after its bytes, as a disk or a network folder does."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._raw:
            raise OSError(5, "Input/output error")
        part, self._raw = self._raw[: len(buffer)], self._raw[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


class SourceContract:
    """Give `source`, `good` and `bad`; add tests of what is special about the source."""

    source: Source
    good: bytes
    """A stream of at least two runs, which do not name their source."""
    bad: bytes
    """The same with one record between the two that is no run."""

    def read(self, raw: bytes, form: str | None = None, limits: IntakeSection = LIMITS) -> Records:
        return self.read_stream(io.BytesIO(raw), form, limits)

    def read_stream(self, stream: Any, form: str | None = None, limits: IntakeSection = LIMITS) -> Records:
        return list(registry.read(stream, form or self.source.name, now=NOW, limits=limits))

    def test_it_is_registered_under_a_name_that_a_person_can_type(self) -> None:
        assert [source for source in registry.SOURCES if source.name == self.source.name] == [self.source]
        assert self.source.name.isidentifier()
        assert self.source.name.islower()
        assert self.source.name != registry.AUTO

    @pytest.mark.parametrize("packed", [False, True])
    def test_its_runs_are_read_told_to_be_its_own_or_found_out(self, packed: bool) -> None:
        raw = gzip.compress(self.good) if packed else self.good
        runs = [record.parsed.run for record in self.read(raw) if isinstance(record, Accepted)]
        assert len(runs) == len(self.read(raw)) >= 2
        assert len({run.run_id for run in runs}) == len(runs)
        assert self.read(raw, registry.AUTO) == self.read(raw)

    def test_a_run_that_names_no_source_has_this_one_and_the_time_of_receipt(self) -> None:
        for record in self.read(self.good):
            assert isinstance(record, Accepted)
            assert record.parsed.run.source == self.source.name
            assert record.parsed.run.received_at == NOW

    def test_reading_twice_gives_the_same_so_that_a_repeated_file_changes_nothing(self) -> None:
        assert self.read(self.good) == self.read(self.good)

    def test_a_bad_record_is_told_in_one_line_with_its_place_and_the_others_are_taken(self) -> None:
        records = self.read(self.bad)
        assert [record.number for record in records] == sorted({record.number for record in records})
        (rejected,) = [record for record in records if isinstance(record, Rejected)]
        assert rejected.number > records[0].number
        assert rejected.reason.strip()
        assert "\n" not in rejected.reason
        assert rejected.raw.strip() in self.bad
        good = [record.parsed.sha for record in self.read(self.good) if isinstance(record, Accepted)]
        assert [record.parsed.sha for record in records if isinstance(record, Accepted)] == good

    @pytest.mark.parametrize("mark", ['"', "'", "\r", "\n", "\x0c", "\u2028"])
    def test_a_mark_within_each_run_makes_none_of_them_vanish(self, mark: str) -> None:
        """Each is taken, or stands in what was rejected: a quote in two runs must not swallow what is between."""
        ids = [record.parsed.run.run_id for record in self.read(self.good) if isinstance(record, Accepted)]
        raw = self.good
        for run_id in ids:
            raw = raw.replace(run_id.encode(), (run_id + mark).encode())
        told = repr(self.read(raw))
        assert [run_id for run_id in ids if run_id not in told] == []

    @settings(deadline=None, max_examples=50)
    @given(st.data())
    def test_a_stream_cut_anywhere_gives_the_runs_before_the_cut(self, data: st.DataObject) -> None:
        cut = data.draw(st.integers(0, len(self.good)))
        whole, part = self.read(self.good), self.read(self.good[:cut])
        for before, after in zip(whole, part[:-1], strict=False):
            assert after == before

    @settings(deadline=None, max_examples=50)
    @given(st.binary(max_size=200), st.integers(0, 2_000))
    def test_any_bytes_anywhere_are_rejected_records_and_never_an_exception(self, noise: bytes, at: int) -> None:
        at %= len(self.good) + 1
        for raw in (noise, self.good[:at] + noise + self.good[at:]):
            for record in self.read(raw):
                assert isinstance(record, Accepted | Rejected)

    def test_a_stream_that_breaks_ends_with_one_line_that_says_so(self) -> None:
        records = self.read_stream(Breaking(self.good))
        assert [record for record in records if isinstance(record, Accepted)] == self.read(self.good)
        assert isinstance(records[-1], Rejected)
        assert "breaks off here (Input/output error)" in records[-1].reason

    def test_a_record_that_does_not_end_is_told_in_bounded_memory(self) -> None:
        tracemalloc.start()
        try:
            start = self.good[: len(self.good) - 2]  # in the middle of the last record
            records = self.read_stream(EndlessRecord(start, 20_000_000), limits=TIGHT)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(records[-1], Rejected)
        assert "intake.max_line_bytes" in records[-1].reason
        assert peak < 8_000_000

    def test_records_are_given_as_they_come(self) -> None:
        """A pipe's runs must not wait for its end: only so much is read ahead as one buffer holds."""
        records: Iterator[Accepted | Rejected] = registry.read(
            io.BufferedReader(Breaking(self.good)), self.source.name, now=NOW, limits=LIMITS
        )
        assert isinstance(next(records), Accepted)
