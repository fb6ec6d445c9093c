"""`status --watch` as a real process: a screen, blocks in a pipe, lines of JSON; Ctrl-C is its end and no error."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console, Group
from rich.live import Live

from tests.support.processes import start, until
from tests.support.projects import OpenProject
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell
from worker.cli.views import status_watch
from worker.cli.views.status_watch import _LastScreen, _shown
from worker.errors import StoreError
from worker.queries.counts import read_counts

WATCH = ("status", "--watch", "--interval", "0.5")


def read_some(stream: Any, enough: Callable[[bytes], bool]) -> bytes:
    """What a process says, until it is enough."""
    said = b""
    while not enough(said):
        more = os.read(stream.fileno(), 65_536)
        assert more, said
        said += more
    return said


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_in_a_pipe_it_is_one_block_after_another_until_it_is_stopped(
    world: ScoredProject, sign: signal.Signals
) -> None:
    running = start(world.shell.folder, *WATCH, environ=world.shell.environ)
    said = read_some(running.stdout, lambda said: said.count(b"every ended run is accounted for") >= 3).decode()
    running.send_signal(sign)
    rest, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, b"")
    assert "\x1b" not in said + rest.decode()
    blocks = said.split("\n\n")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\nqueue heuristics nothing waits\nqueue judge", blocks[0])
    assert re.match(r"counted at \d\d:\d\d:\d\d, every 10 s:\nnights ", blocks[1])
    counted = re.findall(r"counted at (\S+),", said)
    assert len(counted) >= 3
    assert counted[0] == counted[1], "the counts are taken less often than the queue is looked at"


def test_with_json_it_is_one_line_each_time(world: ScoredProject) -> None:
    running = start(world.shell.folder, *WATCH, "--json", environ=world.shell.environ)
    said = read_some(running.stdout, lambda said: said.count(b"\n") >= 3)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, b"")
    looks = [orjson.loads(line) for line in said.splitlines()[:3]]
    once = world.shell("status", "--json").json
    for look in looks:
        assert set(look) == set(once) | {"counted_at"}
        assert look["totals"] == once["totals"]
    assert looks[0]["at"] < looks[1]["at"] < looks[2]["at"]
    assert looks[0]["counted_at"] == looks[1]["counted_at"]


def test_a_reader_that_leaves_is_no_error(world: ScoredProject) -> None:
    running = start(world.shell.folder, *WATCH, environ=world.shell.environ)
    read_some(running.stdout, lambda said: b"nights" in said)
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait(60) == 0


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_it_is_drawn_anew_and_ctrl_c_leaves_it_clean(world: ScoredProject, width: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    shown = bytearray()
    environ = {**world.shell.environ, "TERM": "xterm"}
    running = start(
        world.shell.folder, *WATCH, environ=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)

    def collect() -> None:
        with suppress(OSError):  # the other end was closed
            while data := os.read(ours, 65_536):
                shown.extend(data)

    reader = threading.Thread(target=collect)
    reader.start()
    until(lambda: shown.count(b"every ended run is accounted for") >= 3, "it is drawn three times")
    assert shown.count(b"\x1b[1A") > 10, "over what was there"
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0
    reader.join(10)
    os.close(ours)
    assert b"\x1b[?25h" in shown[shown.rindex(b"\x1b[?25l") :], "the cursor is back"
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert "Traceback" not in text
    assert max(len(line) for line in text.replace("\r", "\n").splitlines()) <= width


def test_a_sentence_that_is_too_long_goes_on_in_the_next_line() -> None:
    file = io.StringIO()
    console = Console(file=file, width=30, soft_wrap=True, force_terminal=True, highlight=False)
    words = "PAUSED gpt-x: the judge refuses the key; check OPENAI_API_KEY"
    with Live(console=console, auto_refresh=False) as live:
        live.update(Group(_shown(words, 30)), refresh=True)
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert [word for word in words.split() if word not in said] == []
    assert max(map(len, said.splitlines())) <= 30


def test_interval_belongs_to_watch(world: ScoredProject) -> None:
    assert "--interval belongs to --watch" in world.shell.refused("status", "--interval", "2")


def test_a_first_look_at_no_database_is_an_error(shell: Shell) -> None:
    assert shell("status", "--watch").code == 5


def test_a_database_that_goes_away_is_told_and_what_was_seen_stays(
    open_project: OpenProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = open_project(SPOTCHECK_DATABASE_URL=f"sqlite:///{tmp_path}/spotcheck.db")
    watched = _LastScreen(project, None, None)
    watched.look()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def away(*_: object) -> None:
        raise StoreError("the server went away")

    with monkeypatch.context() as broken:
        broken.setattr(watched._status, "read", away)
        watched.look_later(2.0)
        assert "; since then: the server went away" in str(next(watched.parts(80)))
    watched.look_later(2.0)
    assert "went away" not in str(next(watched.parts(80)))
    assert watched.counted_at <= datetime.now(UTC)


def test_dear_looks_are_taken_less_often(
    open_project: OpenProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = open_project(SPOTCHECK_DATABASE_URL=f"sqlite:///{tmp_path}/spotcheck.db")
    clock, slept = [1_000.0], list[float]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    watched = _LastScreen(project, None, None)
    read = watched._status.read

    def dear_look() -> Any:
        clock[0] += 0.5
        return read()

    def dear_count(*arguments: Any) -> Any:
        clock[0] += 3.0
        return read_counts(*arguments)

    monkeypatch.setattr(watched._status, "read", dear_look)
    monkeypatch.setattr(status_watch, "read_counts", dear_count)
    watched.look()
    assert watched.every_s == 60.0
    watched.look_later(2.0)
    watched.look_later(2.0)
    assert slept == [2.0, 10.0]
    at = watched.counted_at
    clock[0] += 70.0
    watched.look()
    assert watched.counted_at > at
