"""The sources there are: each is held to the contract, and a stream finds its own."""

import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.connectors.sources import (
    document,
    fields,
    jsonl,
    lines,
    registry,
    run_fields,
    source,
    step_fields,
    tolerant,
)
from worker.connectors.sources.source import Rejected
from worker.errors import SettingsError
from worker.settings.sections_sampling import IntakeSection

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SHARED = {
    module.__name__.rpartition(".")[2]
    for module in (document, fields, lines, registry, run_fields, source, step_fields, tolerant)
}
"""What sources are made with."""


def test_every_source_in_the_folder_is_registered_and_held_to_the_contract() -> None:
    folder = Path(registry.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", *SHARED}
    assert {found.name for found in registry.SOURCES} == modules
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    held = set(re.findall(r"\(SourceContract\):\n(?:    .*\n)*?    source = (\w+)", tests))
    assert held == modules


def test_a_stream_that_no_source_knows_is_told_line_by_line_what_is_wrong() -> None:
    for raw in (b"no json at all\n", b"\x89PNG\r\n", b"\x1f\x8b", b"[1]\n"):
        (record,) = registry.read(io.BytesIO(raw), registry.AUTO, now=NOW, limits=IntakeSection())
        assert isinstance(record, Rejected)
        assert list(jsonl.read(io.BytesIO(raw), now=NOW, limits=IntakeSection())) == [record]


def test_a_format_that_no_source_has_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="--format 'xml' is not known; use auto"):
        registry.check("xml")
    for found in registry.SOURCES:
        registry.check(found.name)
        assert found.name in registry.formats()
