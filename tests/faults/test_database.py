"""A database that cannot be used: one line, exit 5, and the same command completes the work when it can be."""

import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import servers
from tests.support.documents import a_document, lines
from tests.support.restricted_files import mode
from tests.support.shell import Shell
from tests.support.stocked_project import RUNS, ids
from tests.support.stores import OpenStore
from worker.errors import StoreError
from worker.store import schema

NEW = 30


@pytest.fixture
def new_runs(stocked: tuple[Shell, str]) -> Shell:
    """A stocked project, and a file of runs that it does not know."""
    shell, _ = stocked
    (shell.folder / "new.jsonl").write_bytes(lines(*(a_document(f"new-{number}") for number in range(NEW))))
    return shell


def assert_that_it_completes(shell: Shell, **environ: str) -> None:
    said = shell("ingest", "new.jsonl", "--json", **environ)
    assert said.code == 0, said
    assert said.json["accepted"] + said.json["duplicate"] == NEW
    assert len(ids(Shell(shell.folder, {**shell.environ, **environ}))) == RUNS + NEW


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_or_folder_that_may_not_be_written_is_named_with_what_to_do(new_runs: Shell, what: str) -> None:
    database = new_runs.folder / "spotcheck.db"
    with mode(database if what == "file" else database.parent, 0o444 if what == "file" else 0o555):
        for command in (["ingest", "new.jsonl"], ["nightly"], ["status"]):
            assert new_runs.refused(*command, code=5).endswith(
                "attempt to write a readonly database; make the file and its folder writable"
            )
    assert_that_it_completes(new_runs)


def test_a_new_database_in_a_folder_without_rights_is_one_line(shell: Shell) -> None:
    (shell.folder / "closed").mkdir()
    url = {"SPOTCHECK_DATABASE_URL": "sqlite:///closed/x.db"}
    with mode(shell.folder / "closed", 0o555):
        assert "unable to open database file; check the path and its rights" in shell.refused("score", code=5, **url)
    inner = {"SPOTCHECK_DATABASE_URL": "sqlite:///closed/inner/x.db"}
    with mode(shell.folder / "closed", 0):
        assert "folder 'closed/inner' cannot be read: Permission denied" in shell.refused("status", code=5, **inner)
    assert "folder 'closed/inner' does not exist; create it first" in shell.refused("status", code=5, **inner)


@contextmanager
def locked(path: Path, how: str) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield
        other.execute("ROLLBACK")


def test_a_database_that_another_process_holds_too_long_is_one_line(new_runs: Shell) -> None:
    impatient = {"SPOTCHECK_DATABASE_URL": "sqlite:///spotcheck.db?timeout=0.05"}
    with locked(new_runs.folder / "spotcheck.db", "IMMEDIATE"):
        line = new_runs.refused("ingest", "new.jsonl", code=5, **impatient)
        assert line.endswith("database is locked; another process holds it for too long, try again")
        assert new_runs("runs", **impatient).code == 0, "reading waits for nobody"
    assert_that_it_completes(new_runs, **impatient)


def test_a_database_that_is_free_again_in_time_is_no_complaint(new_runs: Shell) -> None:
    path = new_runs.folder / "spotcheck.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, lambda: other.execute("ROLLBACK")).start()
        assert_that_it_completes(new_runs)


@pytest.mark.parametrize("timeout", ["soon", "nan", "-1"])
def test_a_patience_that_is_no_number_is_a_wrong_setting(shell: Shell, timeout: str) -> None:
    url = f"sqlite:///spotcheck.db?timeout={timeout}"
    assert "is no number of seconds" in shell.refused("status", SPOTCHECK_DATABASE_URL=url)


def test_a_process_that_has_used_up_its_connections_is_one_line(
    open_store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/spotcheck.db", pool_size=1)
    monkeypatch.setattr(store.engine.pool, "_timeout", 0.05)  # else it waits half a minute
    told = pytest.raises(StoreError, match=r"every connection of this process is in use; try again$")
    with store.read(), store.read(), told, store.read():  # one is kept, one more is opened for a moment
        raise AssertionError("there is no third")
    with store.read():
        pass


@pytest.fixture
def a_step_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the program have one migration more than the database."""
    scripts = tmp_path / "scripts"
    shutil.copytree(Path(schema.__file__).parent / "migrations", scripts)
    newest = schema.head()
    (scripts / "versions" / "9000_later.py").write_text(
        f'revision = "9000"\ndown_revision = "{newest}"\n\n\n'
        'def upgrade():\n    from alembic import op\n    op.execute("CREATE TABLE later (a INTEGER)")\n'
    )

    return lambda: monkeypatch.setattr(schema, "_MIGRATIONS", scripts)


def test_a_database_of_an_older_version_says_what_to_run_and_keeps_everything(
    new_runs: Shell, a_step_ahead: Callable[[], None]
) -> None:
    a_step_ahead()
    for command in (["status"], ["ingest", "new.jsonl"], ["worker"]):
        assert new_runs.refused(*command, code=5).endswith("has an older schema; run `spotcheck db upgrade`")
    assert new_runs("db", "check", "--json").json["state"] == "older"
    assert new_runs("db", "upgrade").code == 0
    assert_that_it_completes(new_runs)


def test_a_file_that_is_damaged_or_no_database_is_left_as_it_is(new_runs: Shell) -> None:
    path = new_runs.folder / "spotcheck.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = path.read_bytes()
    path.write_bytes(good[:4096] + b"\x55" * (len(good) - 4096))
    line = new_runs.refused("ingest", "new.jsonl", code=5)
    assert line.endswith("; the file is damaged: put a copy of it from before in its place")
    path.write_bytes(b"id,name\n1,lamp\n" * 100)
    assert "file is not a database" in new_runs.refused("status", code=5)
    assert path.read_bytes() == b"id,name\n1,lamp\n" * 100
    path.write_bytes(good)
    assert_that_it_completes(new_runs)


@pytest.mark.parametrize("password", ["a@s3cret", "a@b/s3cret", "a@b?s3cret", "a/s3cret", "a?s3cret", "a#s3cret"])
def test_no_tail_of_a_password_is_shown_whatever_is_in_it(shell: Shell, password: str) -> None:
    url = f"postgresql://me:{password}@127.0.0.1:9/db"
    for command in (["status"], ["db", "check"], ["settings"]):
        said = shell(*command, SPOTCHECK_DATABASE_URL=url)
        assert said.code in (0, 2, 5)
        assert "s3cret" not in said.out + said.err
    if "@" in password:
        assert "write one that belongs to the password as %40" in shell.refused("status", SPOTCHECK_DATABASE_URL=url)


def test_a_server_that_refuses_is_one_line(shell: Shell) -> None:
    url = f"postgresql://me:s3cret@127.0.0.1:{servers.free_port()}/db"
    line = shell.refused("status", code=5, SPOTCHECK_DATABASE_URL=url)
    assert line.endswith("is the server running?")
    assert "s3cret" not in line


def test_a_socket_that_is_not_there_is_one_line(shell: Shell) -> None:
    line = shell.refused("status", code=5, SPOTCHECK_DATABASE_URL=f"postgresql:///db?host={shell.folder}")
    assert line.endswith("is the server running?")


def test_a_wrong_database_and_a_wrong_password_say_what_to_check(shell: Shell, postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    name = url.rpartition("/t_")[2].partition("?")[0]
    line = shell.refused("status", code=5, SPOTCHECK_DATABASE_URL=url.replace(f"t_{name}", "nope"))
    assert line.endswith('database "nope" does not exist; create it, or check SPOTCHECK_DATABASE_URL')
    with password_wanted(url, "careful") as right:
        wrong = right.replace("r1ght", "s3cret")
        line = shell.refused("status", code=5, SPOTCHECK_DATABASE_URL=wrong)
        assert line.endswith("check user and password in SPOTCHECK_DATABASE_URL")
        assert "s3cret" not in line
        assert "permission denied" in shell.refused("score", code=5, SPOTCHECK_DATABASE_URL=right)


@contextmanager
def password_wanted(url: str, user: str) -> Iterator[str]:
    """A user of the server who needs a password, and may do nothing; gives their URL."""
    with psycopg.connect(url, autocommit=True) as admin:
        (file,) = admin.execute("SHOW hba_file").fetchone() or ("",)
        before = Path(file).read_text()
        admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'r1ght'".encode())
        try:
            Path(file).write_text(f"local all {user} scram-sha-256\n{before}")
            admin.execute("SELECT pg_reload_conf()")
            yield url.replace("postgres:@", f"{user}:r1ght@")
        finally:
            Path(file).write_text(before)
            admin.execute("SELECT pg_reload_conf()")
            admin.execute(f"DROP ROLE {user}".encode())


def count(url: str) -> int:
    """Stored runs, as soon as the server is back."""
    while True:
        with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            row: Any = connection.execute("SELECT count(*) FROM run").fetchone()
            return int(row[0])
        time.sleep(0.05)  # looked at again


def _strike(url: str, how: str, locked: threading.Event) -> None:
    """Lock the runs, wait until a command waits for them, and take its server process away."""
    with (
        suppress(psycopg.OperationalError),  # a kill ends these connections, too
        psycopg.connect(url) as holder,
        psycopg.connect(url, autocommit=True) as admin,
    ):
        holder.execute("LOCK TABLE run IN EXCLUSIVE MODE")
        locked.set()
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not (found := admin.execute(waiting).fetchone()):
            time.sleep(0.02)  # until the command waits for the lock
        if how == "hung up on":
            admin.execute("SELECT pg_terminate_backend(%s)", found)
        else:
            os.kill(found[0], signal.SIGKILL)  # the whole server starts over after that


@pytest.mark.parametrize("how", ["hung up on", "killed"])
def test_a_server_that_goes_away_in_the_middle_of_ingest_loses_nothing_that_was_stored(
    shell: Shell, postgres_url: Callable[[], str], how: str
) -> None:
    url = postgres_url()
    shell.environ["SPOTCHECK_DATABASE_URL"] = url
    everything = [a_document(f"r-{number}") for number in range(1_500)]
    for name, part in (("some", everything[:700]), ("all", everything)):
        (shell.folder / f"{name}.jsonl").write_bytes(lines(*part))
    assert shell("ingest", "some.jsonl").code == 0
    locked = threading.Event()
    striking = threading.Thread(target=_strike, args=(url, how, locked))
    striking.start()
    locked.wait()
    line = shell.refused("ingest", "all.jsonl", code=5)
    striking.join()
    assert line.endswith("; the server went away: what was stored stands, repeat the command when it is back")
    assert count(url) == 700
    assert shell("ingest", "all.jsonl").code == 0
    assert count(url) == 1_500
