"""Brokers that are down, unknown, or were killed in the middle of a message."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
import redis
from kombu.connection import Connection

from tests.support.compose import ROOT
from tests.support.servers import SilentListener, free_port
from tests.support.shell import Shell
from worker import celery
from worker.celery import broker, redis_transport
from worker.celery.waking import QUIET_S
from worker.errors import SettingsError
from worker.settings import Settings


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """The app of this process keeps connections to the broker it had."""
    celery.app._after_fork()
    yield
    celery.this_process.forget()
    celery.app._after_fork()


def using(url: str) -> None:
    celery.use(Settings.read({"SPOTCHECK_BROKER_URL": url}))


def test_a_dead_broker_is_asked_once_and_then_left_alone_for_a_while(
    caplog: pytest.LogCaptureFixture, redis_url: Any
) -> None:
    using(f"redis://127.0.0.1:{free_port()}/0")
    with caplog.at_level(logging.WARNING, logger="spotcheck"):
        for _ in range(50):
            celery.wake("judge", 10_000)
    assert [record.message.partition(" (")[0].rpartition(" is ")[2] for record in caplog.records] == ["not reachable"]
    alive = redis_url()
    celery.app.conf.broker_url = alive  # it comes back
    celery.wake("judge")
    with redis.Redis.from_url(alive, socket_timeout=5) as client:
        assert client.llen("spotcheck:judge") == 0  # too soon
        celery.this_process.broker.quiet_until -= QUIET_S
        celery.wake("judge")
        celery.wake("judge")
        assert client.llen("spotcheck:judge") == 2


def test_a_broker_that_accepts_and_says_nothing_is_knocked_at_only_once() -> None:
    with closing(SilentListener()) as silent:
        using(f"redis://127.0.0.1:{silent.port}/0")
        celery.app.conf.broker_transport_options = {**celery.app.conf.broker_transport_options, "socket_timeout": 0.5}
        for _ in range(20):
            celery.wake("judge", 10_000)
        assert 1 <= silent.knocks <= 3


@pytest.mark.parametrize("url", ["sqs://a:b@", "sentinel://127.0.0.1:1"])
def test_a_broker_that_cannot_be_used_is_one_line(tmp_path: Path, url: str) -> None:
    shell = Shell(tmp_path, {"SPOTCHECK_BROKER_URL": url})
    for command in ("worker", "beat", "score", "up"):
        said = shell.refused(command)
        assert said.startswith("spotcheck: SPOTCHECK_BROKER_URL: ")
        assert said.count("\n") == 0


def test_an_unknown_broker_is_one_line_wherever_it_comes_from() -> None:
    with pytest.raises(SettingsError, match="Celery does not know it"):
        broker._check("carrier-pigeon")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    using(f"filesystem://{tmp_path}")
    return tmp_path


@contextmanager
def channel() -> Iterator[Any]:
    """What Celery puts and takes messages through."""
    with celery.app.connection_for_write() as connection:
        yield connection.default_channel


def test_half_a_message_is_dropped_and_the_next_is_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "queue" / "1_a.control.msg").write_bytes(b"")
    (folder / "queue" / "2_b.control.msg").write_bytes(b'{"body": "')
    (folder / "queue" / "3_c.control.msg").write_bytes(b"\xff\xfe\x00")
    with channel() as open_channel, caplog.at_level(logging.WARNING, logger="spotcheck"):
        open_channel._put("control", {"whole": True})
        assert open_channel._get("control") == {"whole": True}
        with pytest.raises(Empty):
            open_channel._get("control")
    assert len(caplog.records) == 3
    assert not list((folder / "queue").glob("*.msg"))


def test_half_an_exchange_is_bound_anew(folder: Path) -> None:
    with channel() as open_channel:
        open_channel._queue_bind("control", "control", "", "control")
        bound = open_channel.get_table("control")
        assert [tuple(binding) for binding in bound] == [("control", "", "control")]
        for half in (b"", b'[["con', b"5"):
            (folder / "control" / "control.exchange").write_bytes(half)
            assert open_channel.get_table("control") == []
            open_channel._queue_bind("control", "control", "", "control")
            assert open_channel.get_table("control") == bound


def test_a_message_put_into_a_folder_that_was_deleted_is_not_lost(folder: Path) -> None:
    with channel() as open_channel:
        shutil.rmtree(folder / "queue")
        open_channel._put("control", {"n": 1})
        assert open_channel._get("control") == {"n": 1}
        shutil.rmtree(folder / "queue")
        with pytest.raises(Empty):
            open_channel._get("control")
        assert (folder / "queue").is_dir()


def test_queues_are_bound_anew_in_a_folder_that_was_deleted(folder: Path) -> None:
    with channel() as open_channel:
        shutil.rmtree(folder / "control")
        open_channel._queue_bind("control", "control", "", "control")
        assert [tuple(binding) for binding in open_channel.get_table("control")] == [("control", "", "control")]


def test_a_worker_that_meets_a_folder_in_the_middle_of_its_deletion_goes_on(folder: Path) -> None:
    """A link that leads nowhere stands for that moment: the folder is there, and it is not."""
    with channel() as open_channel:
        (folder / "queue").rmdir()
        (folder / "queue").symlink_to(folder / "nowhere")
        with pytest.raises(Empty):
            open_channel._get("control")


OF_ITS_OWN = """
import sys
from queue import Empty
from worker import celery
from worker.settings import Settings
celery.use(Settings.read({"SPOTCHECK_BROKER_URL": sys.argv[1]}))
channel = celery.app.connection_for_write().default_channel
"""
WRITE = f"{OF_ITS_OWN}while True: channel._put('control', {{'long': 'x' * 200_000}})"
BIND = f"{OF_ITS_OWN}for n in range(20): channel._queue_bind('all', f'{{sys.argv[2]}}-{{n}}', '', 'control')"
READ = f"""{OF_ITS_OWN}
try:
    while True: print(channel._get('control')['n'])
except Empty: pass
"""


def start(folder: Path, code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, f"filesystem://{folder}", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def test_writers_that_are_killed_leave_whole_messages(folder: Path) -> None:
    writers = [start(folder, WRITE) for _ in range(3)]
    for count, writer in enumerate(writers, 1):
        while len(list((folder / "queue").glob("*.msg"))) < 20 * count:
            assert writer.poll() is None
        writer.kill()
        writer.communicate()
    with channel() as open_channel:
        count = len(list((folder / "queue").glob("*.msg")))
        assert all(len(open_channel._get("control")["long"]) == 200_000 for _ in range(count))
        assert count >= 60


def test_two_readers_take_each_message_once(folder: Path) -> None:
    with channel() as open_channel:
        for number in range(400):
            open_channel._put("control", {"n": number})
    readers = [start(folder, READ) for _ in range(2)]
    taken = [int(line) for reader in readers for line in reader.communicate(timeout=60)[0].split()]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert sorted(taken) == list(range(400))


def test_queues_that_are_bound_at_once_are_all_bound(folder: Path) -> None:
    binders = [start(folder, BIND, name) for name in "abc"]
    for binder in binders:
        binder.communicate(timeout=60)
    with channel() as open_channel:
        keys = {queue.routing_key for queue in open_channel.get_table("all")}
    assert keys == {f"{name}-{number}" for name in "abc" for number in range(20)}


def test_parts_that_killed_writers_left_are_taken_away_after_an_hour(folder: Path) -> None:
    old, new = folder / "queue" / ".old.part", folder / "queue" / ".new.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 4_000, time.time() - 4_000))
    using(f"filesystem://{folder}")
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_nobody_empties_takes_only_so_many(folder: Path) -> None:
    for _ in range(100):
        celery.wake("judge", 100_000)
    assert len(list((folder / "queue").glob("*.judge.msg"))) == broker.MAX_FILES
    ticker = celery.Ticker(celery.app)
    for _ in range(20):
        for entry in ticker.schedule.values():
            ticker.apply_entry(entry, producer=ticker.producer)
    assert len(list((folder / "queue").glob("*.control.msg"))) == broker.MAX_FILES


def test_beat_sends_everything_at_its_start_and_keeps_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = set(folder.rglob("*"))
    ticker = celery.Ticker(celery.app)
    for _ in range(len(ticker.schedule)):
        assert ticker.tick() == 0
    assert ticker.tick() > 1
    ticker.close()
    made = {path.name.partition(".")[2] for path in set(folder.rglob("*")) - before if path.is_file()}
    assert "control.msg" in made
    assert made <= {"control.msg", "exchange", "lock"}
    assert len(list((folder / "queue").glob("*.control.msg"))) == len(ticker.schedule)


def test_a_message_in_hand_when_redis_is_let_go_of_is_a_lost_connection(redis_url: Callable[[], str]) -> None:
    """What Celery does when Redis goes away, in its order, without the race that a killed server is."""
    connect: Any = Connection  # typed in part
    connection = connect(redis_url())
    queue = connection.SimpleQueue("held")
    queue.put("work")
    message = queue.get(timeout=5)
    channel, transport = message.channel, message.channel.connection
    assert type(transport) is redis_transport.RedisTransport
    channel._disconnect_pools()
    transport.client = None
    with pytest.raises(connection.connection_errors, match="was closed"):
        message.ack()
    transport.client = connection
    message.ack()
    connection.release()
