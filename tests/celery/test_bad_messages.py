"""Whatever stands in a queue: it is dropped with one line, and the next message is taken. On each broker."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import redis

from tests.support.bad_messages import BYTES, FRAMES, TASKS, message
from tests.support.processes import ProcessShell, environment, until
from worker import celery
from worker.celery.messages import NotAMessage, check_frame
from worker.celery.process import this_process
from worker.settings import Settings

PATIENCE_S = 60.0
QUEUE = "judge"
DONE = r"drain_judge\[.*succeeded"
DROPPED = re.compile(r"broker: .* dropped")
Put = Callable[[bytes], None]


def raw(queue: str) -> Iterator[bytes]:
    """All of them, as bytes."""
    yield from BYTES.values()
    for make in (*FRAMES.values(), *TASKS.values()):
        yield json.dumps(make(queue)).encode()


@pytest.fixture(params=["folder", "redis"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Put]:
    """The URL of a broker, and how a stranger puts something into its queue."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")()

        def push(body: bytes) -> None:
            with redis.Redis.from_url(url, socket_timeout=5) as client:
                client.lpush(f"spotcheck:{QUEUE}", body)

        return url, push
    folder = tmp_path / "broker"
    (folder / "queue").mkdir(parents=True)

    def write(body: bytes) -> None:
        number = len(list((folder / "queue").iterdir()))
        part = folder / "queue" / f".{number}.part"
        part.write_bytes(body)
        part.rename(folder / "queue" / f"{number:06d}_{os.urandom(4).hex()}.{QUEUE}.msg")

    return f"filesystem://{folder}", write


@contextmanager
def a_worker(folder: Path, url: str) -> Iterator[Any]:
    """Like a user's, in a process group of its own; what it says is in `worker.log`."""
    shell = ProcessShell(folder, environment("http://127.0.0.1:9/v1", {"SPOTCHECK_BROKER_URL": url}))
    with (folder / "worker.log").open("ab") as log:
        running = shell.start("worker", "-Q", QUEUE, "-c", "1", stdout=log, stderr=log, start_new_session=True)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def test_a_worker_drops_each_with_one_line_and_takes_the_next(tmp_path: Path, broker: tuple[str, Put]) -> None:
    url, put = broker
    bad = list(raw(QUEUE))
    assert len(bad) >= 40
    with a_worker(tmp_path, url) as running:
        for body in bad:
            put(body)
        put(json.dumps(message(QUEUE)).encode())

        def said() -> str:
            assert running.poll() is None, log()[-5000:]
            return log()

        def log() -> str:
            return (tmp_path / "worker.log").read_text()

        until(lambda: re.search(DONE, said()) is not None, "the good one is done", PATIENCE_S)
        assert len(DROPPED.findall(said())) == len(bad), said()[-5000:]
        running.terminate()
        assert running.wait(30) == 0
        assert "Traceback" not in log()
        assert "Restoring" not in log(), "none of them comes back"


IN_ONE_PROCESS = """
import json, sys, threading, time, warnings
from worker import celery
from worker.settings import read_here
celery.use(read_here()[0])
warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")
options = {"without_gossip": True, "without_mingle": True, "loglevel": "INFO"}
worker = celery.app.Worker(pool="threads", concurrency=1, queues=["judge"], **options)
threading.Thread(target=worker.start, daemon=True).start()
with celery.app.connection_for_write() as connection:
    for message in json.load(sys.stdin):
        connection.default_channel._put("judge", message)
threading.Event().wait()
"""


def test_a_broker_in_memory_drops_each_and_takes_the_next(tmp_path: Path) -> None:
    bad = [make(QUEUE) for make in (*FRAMES.values(), *TASKS.values())]
    environ = environment("http://127.0.0.1:9/v1", {"SPOTCHECK_BROKER_URL": "memory://"})
    log = tmp_path / "worker.log"
    with log.open("ab") as out:
        command = [sys.executable, "-c", IN_ONE_PROCESS]
        running = subprocess.Popen(command, cwd=tmp_path, env=environ, stdin=PIPE, stdout=out, stderr=out)
    try:
        assert running.stdin is not None
        with running.stdin as given:
            given.write(json.dumps([*bad, message(QUEUE)]).encode())
        until(lambda: re.search(DONE, log.read_text()) is not None, "the good one is done", PATIENCE_S)
    finally:
        running.kill()
        running.wait()
    assert len(DROPPED.findall(log.read_text())) == len(bad)
    assert "Traceback" not in log.read_text()


def test_what_celery_itself_sends_is_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    celery.app._after_fork()
    celery.use(Settings.read({"SPOTCHECK_BROKER_URL": f"filesystem://{tmp_path}"}))
    ticker = celery.Ticker(celery.app)
    for entry in ticker.schedule.values():
        ticker.apply_entry(entry, producer=ticker.producer)
    for lane in ("judge", "heuristic", "batch"):
        celery.wake(lane)
    celery.app.control.ping(timeout=0.01)
    ticker.close()
    sent = [json.loads(file.read_bytes()) for file in (tmp_path / "queue").iterdir()]
    assert len(sent) >= 6
    for found in sent:
        check_frame(found)
    this_process.forget()
    celery.app._after_fork()


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_checked_before_it_is_unpacked(name: str) -> None:
    with pytest.raises(NotAMessage):
        check_frame(FRAMES[name](QUEUE))


@pytest.mark.parametrize("name", TASKS)
def test_the_frame_of_a_task_that_is_none_is_whole(name: str) -> None:
    check_frame(json.loads(json.dumps(TASKS[name](QUEUE))))
