"""The command line in processes of its own, and waiting for what they do."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import orjson

from worker.demo.judge.server import MODEL

SPOTCHECK = [sys.executable, "-m", "worker"]


def start(folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "PYTHONPATH")}
    environ |= {"PYTHONPATH": str(Path(__file__).parents[2])} | options.pop("environ", {})
    streams = {"stdin": subprocess.DEVNULL, "stdout": PIPE, "stderr": PIPE, **options}
    return subprocess.Popen([*SPOTCHECK, *arguments], cwd=folder, env=environ, **streams)


ROOT = Path(__file__).resolve().parents[2]
READY_S, DONE_S, STOP_S = 60.0, 600.0, 30.0


def environment(judge_url: str, urls: Mapping[str, str]) -> dict[str, str]:
    """Our own environment without what belongs to another project, with the judge and the stack's addresses."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTCHECK_", "OPENAI_"))}
    addresses = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge_url, **urls}
    return kept | {"PYTHONPATH": str(ROOT)} | addresses


def database(folder: Path, environ: Mapping[str, str]) -> str:
    """The database of a folder, as seen from this process."""
    return environ.get("SPOTCHECK_DATABASE_URL", f"sqlite:///{folder / 'spotcheck.db'}")


class ProcessShell:
    """Runs `spotcheck` in the story's folder."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder, self.environ = folder, dict(environ)
        self.walls: dict[str, float] = {}

    def start(self, *arguments: str, stdout: Any = subprocess.PIPE, **options: Any) -> "subprocess.Popen[bytes]":
        """Begin a command."""
        command = [sys.executable, "-m", "worker", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=self.environ, stdout=stdout, **options)

    def timed(self, name: str, *arguments: str) -> Any:
        """The JSON answer of a command that must succeed; its wall time is noted, start of Python included."""
        began = time.monotonic()
        with self.start(*arguments) as process:
            answer, _ = process.communicate(timeout=DONE_S)
        if process.returncode != 0:
            raise RuntimeError(f"spotcheck {' '.join(arguments)} ended with {process.returncode}")
        self.walls[name] = time.monotonic() - began
        return orjson.loads(answer)


def stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """SIGTERM to each worker, as systemd and docker send it; SIGKILL to the group of one that stays."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


PATIENCE_S = 75.0


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)  # looked at again, up to its limit
