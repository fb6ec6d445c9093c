"""Ctrl-C and SIGTERM anywhere, once and twice: one line, 130 or 143, a whole database, and repeating ends the work.

Inside a command the signal is raised at a chosen place, by the command's own thread. What only a process shows, such
as its exit code or a signal while it loads, is shown by processes. `score --wait` and `ingest` under Ctrl-C from
outside stand in tests/cli/test_processes.py.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.documents import a_document, lines
from tests.support.processes import start
from tests.support.projects import OpenProject
from tests.support.shell import Said, Shell
from tests.support.stocked_project import RUNS, ids, totals
from worker.demo.judge.server import MODEL, Answer, JudgeServer, simulated_verdict
from worker.jobs.queue import JobQueue
from worker.store.engine import Store

LINE = "interrupted; what was stored stands, and repeating the command goes on from there\n"
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Presses Ctrl-C right after a function has done its work, the first time that it is called."""

    def arm(place: str) -> None:
        module, _, name = place.rpartition(".")
        try:
            owner: Any = import_module(module)  # commands are imported when they are called
        except ModuleNotFoundError:  # a class
            outer, _, inner = module.rpartition(".")
            owner = getattr(import_module(outer), inner)
        real = getattr(owner, name)
        pressed: list[bool] = []

        def pressing(*arguments: Any, **options: Any) -> Any:
            result = real(*arguments, **options)
            if not pressed:
                pressed.append(True)
                signal.raise_signal(signal.SIGINT)
            return result

        monkeypatch.setattr(owner, name, pressing)

    return arm


def assert_interrupted(said: Said) -> None:
    assert said.code == 130, said
    assert said.err.endswith(LINE)
    assert "Traceback" not in said.err


def assert_whole(shell: Shell) -> None:
    with Store(f"sqlite:///{shell.folder / 'spotcheck.db'}").read() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []


@pytest.mark.parametrize(
    "place", ["worker.store.runs.runs.take", "worker.store.runs.runs.pack", "worker.cli.commands.ingest._take_file"]
)
def test_ingest(shell: Shell, ctrl_c: Callable[[str], None], place: str) -> None:
    (shell.folder / "runs.jsonl").write_bytes(lines(*(a_document(f"r-{number}") for number in range(20)), {"bad": 1}))
    assert shell("db", "upgrade").code == 0
    ctrl_c(place)
    assert_interrupted(shell("ingest", "runs.jsonl"))
    assert_whole(shell)
    assert len(ids(shell)) in (0, 20), "a batch is stored whole or not at all"
    assert shell("ingest", "runs.jsonl").code == 0
    assert len(ids(shell)) == 20


@pytest.mark.parametrize(
    "place",
    ["worker.store.queue.enrol.enqueue", "worker.store.runs.draws.mark_drawn", "worker.store.runs.draws.store_draw"],
)
@pytest.mark.parametrize("command", ["sample", "nightly"])
def test_the_draw(stocked: tuple[Shell, str], ctrl_c: Callable[[str], None], place: str, command: str) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1\n[scoring]\nrubrics = []\n")
    ctrl_c(place)
    assert_interrupted(shell(command, "--since", night, "--until", night))
    assert_whole(shell)
    said = shell("nightly", "--since", night, "--until", night, "--wait", "--json")
    assert (said.code, said.json["sampled"], said.json["open"]) == (0, RUNS, 0)
    counted = totals(shell)
    assert counted["scored"] + counted["unscored"] == counted["ended"]


@pytest.mark.parametrize("place", ["worker.cli.commands.nightly.finish", "worker.store.results.cells.stale_nights"])
def test_the_summary(stocked: tuple[Shell, str], ctrl_c: Callable[[str], None], place: str) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1\n[scoring]\nrubrics = []\n")
    ctrl_c(place)
    assert_interrupted(shell("nightly", "--date", night, "--wait"))
    assert_whole(shell)
    assert shell("nightly", "--date", night, "--wait").code == 0
    points = shell("trends", "--json").json["points"]
    assert {(point["population"], point["sampled"]) for point in points} == {(RUNS, RUNS)}


def test_trends_leave_the_old_file_as_it_was(stocked: tuple[Shell, str], ctrl_c: Callable[[str], None]) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[scoring]\nrubrics = []\n")
    assert shell("nightly", "--date", night, "--wait").code == 0
    (shell.folder / "t.csv").write_text("old")
    ctrl_c("worker.cli.commands.trends._write_csv")
    assert_interrupted(shell("trends", "--format", "csv", "-o", "t.csv"))
    assert (shell.folder / "t.csv").read_text() == "old"
    assert not list(shell.folder.glob(".t*"))
    assert shell("trends", "--format", "csv", "-o", "t.csv").code == 0
    assert (shell.folder / "t.csv").read_text().startswith("week,")


@pytest.mark.parametrize(
    "place", ["worker.cli.commands.init.shutil.copytree", "worker.cli.commands.init._copy_prompts"]
)
def test_init_can_be_repeated(shell: Shell, ctrl_c: Callable[[str], None], place: str) -> None:
    from worker.cli.commands import init

    sys.modules.setdefault("worker.cli.commands.init.shutil", vars(init)["shutil"])
    ctrl_c(place)
    assert_interrupted(shell("init", "project"))
    assert not (shell.folder / "project" / "spotcheck.toml").exists()
    if place.endswith("copytree"):
        assert list((shell.folder / "project").iterdir()) == []
        assert shell("init", "project").code == 0


def test_a_preview(stocked: tuple[Shell, str], ctrl_c: Callable[[str], None]) -> None:
    shell, _ = stocked
    ctrl_c("worker.scorers.rubric.questions.QuestionBuilder.preview")
    said = shell("rubric", "preview", "task_completion", "--run", "r-1")
    assert_interrupted(said)
    assert said.out == ""
    assert shell("rubric", "preview", "task_completion", "--run", "r-1").code == 0


LOADING = """
import signal, sys

class PressCtrlC:
    def find_spec(self, name, *_):
        if name == {name!r}:
            signal.raise_signal(signal.{sign})

sys.meta_path.insert(0, PressCtrlC())
sys.argv = ["spotcheck", "status"]
from worker.cli import main
main()
"""


@pytest.mark.parametrize(
    ("name", "sign", "code"), [("orjson", "SIGINT", 130), ("sqlalchemy", "SIGINT", 130), ("sqlalchemy", "SIGTERM", 143)]
)
def test_a_signal_while_the_program_still_loads(tmp_path: Path, name: str, sign: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADING.format(name=name, sign=sign)],
        cwd=tmp_path,
        env={"PYTHONPATH": ROOT},
        capture_output=True,
        check=False,
    )
    assert done.returncode in (code, -signal.SIGTERM), done
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") <= 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("signs", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT, signal.SIGINT)])
def test_a_process_that_is_told_to_stop_says_one_line_and_its_shell_sees_it(
    shell: Shell, signs: tuple[signal.Signals, ...]
) -> None:
    running = start(shell.folder, "ingest", "-", stdin=PIPE)
    assert running.stdin is not None
    assert running.stderr is not None
    running.stdin.write(lines("no run", *(a_document(f"r-{number}") for number in range(1_200))))
    running.stdin.flush()
    assert b"stdin:1: not an object" in running.stderr.readline()
    while len(ids(shell)) < 999:
        assert running.poll() is None
        time.sleep(0.1)  # looked at again until enough is taken in
    for sign in signs:
        running.send_signal(sign)
    _, said = running.communicate(timeout=60)
    assert b"Traceback" not in said
    words = {signal.SIGTERM: b"told to stop; what was stored stands", signal.SIGINT: b"interrupted"}
    assert said.startswith(words[signs[0]])
    assert running.returncode == (143 if signs[0] == signal.SIGTERM else 130)
    assert_whole(shell)
    kept = shell("ingest", "stdin.rejected.jsonl", "--json")
    assert (kept.code, kept.json["rejected"]) == (3, 1), "what was rejected so far is kept"
    assert shell("ingest", "-", stdin=lines(*(a_document(f"r-{number}") for number in range(1_200)))).code == 0
    assert len(ids(shell)) == 1_200


def test_after_a_double_ctrl_c_waiting_says_who_holds_what_and_until_when(
    stocked: tuple[Shell, str], open_project: OpenProject
) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1\n[scoring]\nrubrics = []\n")
    assert shell("sample", "--since", night, "--until", night).code == 0
    url = f"sqlite:///{shell.folder / 'spotcheck.db'}"
    project = open_project("[scoring]\nrubrics = []\n", SPOTCHECK_DATABASE_URL=url)
    taken = JobQueue(project, "heuristic").claim(5).work
    with project.store.write() as connection:  # a lease that runs out in a second, not in ninety
        connection.execute(
            text(
                "UPDATE job SET lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '+1.5 seconds')"
                " WHERE state = 'leased'"
            )
        )
    said = shell("score", "--wait")
    assert said.code == 0, said
    (line,) = said.err.splitlines()
    assert line.startswith(f"{len(taken)} jobs are held until ")
    assert f" by process {os.getpid()} on " in line
    assert line.endswith("; if it is gone, they are taken over then")
    assert totals(shell)["pending"] == 0


class Slow:
    """A judge that takes its time, until it is told to hurry."""

    def __init__(self) -> None:
        self.seconds, self.asked = 0.4, threading.Event()

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked.set()
        return simulated_verdict(request, lambda prompt: 1.0)._replace(delay_s=self.seconds)


def in_a_process(shell: Shell, *arguments: str) -> None:
    running = start(shell.folder, *arguments, environ=shell.environ)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said


@contextmanager
def _group(running: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_under_ctrl_c_leaves_every_job_to_the_next(stocked: tuple[Shell, str], times: int) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text(
        '[sampling]\nrate = 1\n[scoring]\nlease_s = 5\nheuristics = ["completed"]\n'
    )
    slow = Slow()
    with JudgeServer(slow) as judge:
        shell.environ |= {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        shell.environ["SPOTCHECK_JUDGE_CONCURRENCY"] = "2"
        log = shell.folder / "worker.log"
        with log.open("wb") as stream:
            running = start(
                shell.folder,
                "worker",
                "-c",
                "1",
                environ=shell.environ,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        with _group(running):
            # by processes: Celery keeps the first broker that it was shown, and here every test has one of its own
            in_a_process(shell, "nightly", "--date", night)
            while not slow.asked.wait(1):
                assert running.poll() is None, log.read_text()
                in_a_process(shell, "score")
            for _ in range(times):
                os.killpg(running.pid, signal.SIGINT)  # as a terminal does it
            running.wait(timeout=60)
        assert b"Traceback" not in log.read_bytes(), log.read_text()
        assert running.returncode == 130
        assert_whole(shell)
        slow.seconds = 0.0
        said = shell("score", "--wait")
        assert said.code == 0, said
    counted = totals(shell)
    assert (counted["pending"], counted["failed"], counted["scored"]) == (0, 0, 2 * RUNS)


def test_the_demo(tmp_path: Path) -> None:
    running = start(tmp_path, "demo", "--dir", "d", start_new_session=True)
    with _group(running):
        while not (tmp_path / "d" / "spotcheck.db").exists():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert out == b""
    assert b"Traceback" not in err
    assert err.decode().splitlines()[-1].startswith("interrupted; ")
