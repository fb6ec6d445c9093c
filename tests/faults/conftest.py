"""A project with a few runs, and a world that is short of rights or of room, for root and for everybody else."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, a_document, lines

RUNS = 12


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in an empty folder."""
    return Shell(tmp_path)


@pytest.fixture
def stocked(shell: Shell) -> tuple[Shell, str]:
    """A project with a dozen runs of one night, and that night."""
    (shell.folder / "runs.jsonl").write_bytes(lines(*(a_document(f"r-{number}") for number in range(RUNS))))
    said = shell("ingest", "runs.jsonl")
    assert said.code == 0, said
    return shell, night_of(shell)


def night_of(shell: Shell) -> str:
    return str(shell("runs", "--json", "--limit", "1").json["runs"][0]["night"])


def ids(shell: Shell) -> list[str]:
    """The ids of all runs that are stored, with repetitions if there were any."""
    return sorted(run["run_id"] for run in shell("runs", "--json", "--limit", "100000").json["runs"])


def totals(shell: Shell) -> dict[str, int]:
    """The counts over all scorers; they must reconcile."""
    said = shell("status", "--json")
    assert said.json["reconciles"], said
    counted: dict[str, int] = said.json["totals"]
    return counted


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what a full disk or a used-up quota does, also without root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Capabilities(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


_VERSION_3 = 0x20080522
_READ_AND_WRITE_ANYTHING = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


@contextmanager
def ordinary_rights() -> Iterator[None]:
    """Modes of files count, for root too: it lays down the right to pass over them, in this thread only."""
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root passes over the modes of files here")
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Capabilities * 2)()
    assert libc.capget(ctypes.byref(header), sets) == 0
    before = sets[0].effective
    sets[0].effective = before & ~_READ_AND_WRITE_ANYTHING
    assert libc.capset(ctypes.byref(header), sets) == 0
    try:
        yield
    finally:
        sets[0].effective = before
        assert libc.capset(ctypes.byref(header), sets) == 0


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    """A file or folder with these rights, for a process without special ones."""
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        with ordinary_rights():
            yield
    finally:
        path.chmod(before)
