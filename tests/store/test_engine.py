import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from tests.support import servers
from tests.support.ledger import Ledger, heuristic
from tests.support.stores import OpenStore
from worker.errors import EXIT_STORE, SettingsError, StoreError
from worker.store import schema
from worker.store.engine import Store


def message(store: Store) -> str:
    """The one line that a broken store answers with."""
    with pytest.raises(StoreError) as caught, store.read() as connection:
        connection.execute(text("SELECT 1"))
    assert caught.value.exit_code == EXIT_STORE
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:geheim@host/db", "'mysql' is not supported; use sqlite or postgresql"),
        ("postgresql+asyncpg://u:geheim@host/db", "is not supported; use sqlite or postgresql"),
        ("spotcheck.db", "is not a database URL; write sqlite:///FILE or postgresql://"),
        ("", "is not a database URL"),
        ("postgresql://u:geheim@host:port/db", "is not a database URL"),
        ("sqlite://", "in memory would be lost; write sqlite:///FILE"),
        ("sqlite:///:memory:", "in memory would be lost"),
    ],
)
def test_a_url_of_no_known_database_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Store(url)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_common_spelling_of_postgresql_is_understood(scheme: str) -> None:
    assert Store(f"{scheme}://host/db").dialect == "postgresql"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:geheim@127.0.0.1/db",
        "postgresql://u@127.0.0.1/db?password=geheim",
        "postgresql://u@127.0.0.1/db?sslpassword=geheim&sslmode=disable",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    port = servers.free_port()
    store = Store(url.replace("127.0.0.1", f"127.0.0.1:{port}"))
    assert "geheim" not in store.shown
    line = message(store)
    assert "geheim" not in line
    assert f"127.0.0.1:{port}" in line


def test_a_database_server_that_is_down_is_told_in_one_line() -> None:
    line = message(Store(f"postgresql://127.0.0.1:{servers.free_port()}/db"))
    assert line.endswith("; is the server running?")


def test_a_server_that_hangs_up_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store = Store(f"postgresql://127.0.0.1:{listener.getsockname()[1]}/db?connect_timeout=2")
        listener.close()
        message(store)


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    line = message(Store(f"sqlite:///{tmp_path}/nowhere/spotcheck.db"))
    assert line.endswith(f"folder '{tmp_path}/nowhere' does not exist; create it first")
    assert not (tmp_path / "nowhere").exists()


def test_a_path_that_is_a_folder_is_told(tmp_path: Path) -> None:
    assert message(Store(f"sqlite:///{tmp_path}")).endswith("; check the path and its rights")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not a database " * 100)
    assert "not a database" in message(Store(f"sqlite:///{tmp_path}/notes.db"))


def test_a_database_that_cannot_be_written_is_told(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/spotcheck.db")
    schema.ensure(store)
    with store.read() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")  # what a read-only file says, also to root
    with pytest.raises(StoreError, match=r"make the file and its folder writable$"):
        Ledger(store).register(heuristic())


def test_a_locked_database_is_told_and_works_again_when_it_is_free(open_store: OpenStore, tmp_path: Path) -> None:
    holder, store = (open_store(f"sqlite:///{tmp_path}/spotcheck.db") for _ in range(2))
    schema.ensure(store)
    with store.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=20")  # else it waits half a minute
    with (
        holder.write(),
        pytest.raises(StoreError, match=r"database is locked; another process holds it for too long, try again$"),
    ):
        Ledger(store).register(heuristic())
    assert len(Ledger(store).register(heuristic())) == 1


def test_a_store_without_its_tables_says_what_to_run(open_store: OpenStore, empty_database_url: str) -> None:
    store = open_store(empty_database_url)
    with pytest.raises(StoreError, match=r"run `spotcheck db upgrade`$") as caught:
        Ledger(store).register(heuristic())
    assert "\n" not in str(caught.value)


def test_a_row_that_is_refused_is_never_quoted(store: Store) -> None:
    statement = text("INSERT INTO meta (key, value) VALUES (:key, :value)")
    with pytest.raises(StoreError) as caught, store.write() as connection:
        connection.execute(statement, [{"key": "key", "value": "geheim"}] * 2)
    assert "geheim" not in str(caught.value)
    assert isinstance(caught.value.__cause__, SQLAlchemyError)
    assert "geheim" not in str(caught.value.__cause__)


def test_a_transaction_that_breaks_leaves_nothing_behind(store: Store) -> None:
    def write_and_break() -> None:
        with store.write() as connection:
            connection.execute(text("INSERT INTO meta (key, value) VALUES ('a', 'b')"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_break()
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM meta")).scalar_one() == 0


def test_a_reader_sees_one_moment_however_long_it_looks(store: Store, open_store: OpenStore) -> None:
    count = text("SELECT count(*) FROM scorer")
    with store.read() as connection:
        before = connection.execute(count).scalar_one()
        other = open_store(store.engine.url.render_as_string(hide_password=False))
        Ledger(other).register(heuristic())
        assert connection.execute(count).scalar_one() == before
    with store.read() as connection:
        assert connection.execute(count).scalar_one() == before + 1


def test_a_reader_that_follows_a_writer_on_the_same_connection_is_no_writer(store: Store) -> None:
    Ledger(store).register(heuristic())
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM scorer")).scalar_one() == 1
    assert len(Ledger(store).register(heuristic("b"))) == 1


def test_the_time_is_aware_utc(store: Store) -> None:
    with store.read() as connection:
        now = store.now(connection)
    assert now.utcoffset() is not None
    assert str(now.tzinfo) == "UTC"


def test_a_closed_store_opens_again(store: Store) -> None:
    store.close()
    store.close()
    assert len(Ledger(store).register(heuristic())) == 1


def in_child(store: Store) -> str:
    """What a child process finds when it uses its parent's store."""
    engine = store.engine
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child must never come back into pytest
        said = b"broken"
        try:
            Ledger(store).register(heuristic("child"))
            with store.read() as connection:
                names = connection.execute(text("SELECT name FROM scorer ORDER BY name")).scalars().all()
            whose = "the parent's" if store.engine is engine else "its own"
            store.close()
            said = f"{whose}: {','.join(names)}".encode()
        finally:
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said_by_child = pipe.read()
    os.waitpid(pid, 0)
    return said_by_child


def test_a_child_process_opens_its_own_connections_and_leaves_its_parents_alone(store: Store) -> None:
    ledger = Ledger(store)
    ledger.register(heuristic("parent"))
    engine = store.engine
    with store.read() as connection:
        before = connection.execute(text("SELECT count(*) FROM scorer")).scalar_one()
        assert in_child(store) == "its own: child,parent"
        assert connection.execute(text("SELECT count(*) FROM scorer")).scalar_one() == before
    assert store.engine is engine, "the parent goes on with its own"
    assert len(ledger.register(heuristic("parent"), heuristic("child"), heuristic("third"))) == 3
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM scorer")).scalar_one() == 3


def test_a_child_process_never_hangs_up_for_its_parent(open_store: OpenStore, postgres_url: Callable[[], str]) -> None:
    store = open_store(postgres_url())

    def servers_behind() -> set[int]:
        ask = text("SELECT pg_backend_pid()")
        with store.read() as one, store.read() as two:
            return {connection.execute(ask).scalar_one() for connection in (one, two)}

    before = servers_behind()
    assert in_child(store).startswith("its own")
    assert servers_behind() == before


def test_what_may_as_well_be_left_waits_only_a_moment_for_a_lock(open_store: OpenStore, tmp_path: Path) -> None:
    store, other = (open_store(f"sqlite:///{tmp_path}/spotcheck.db?timeout=250") for _ in range(2))
    with store.write():
        with pytest.raises(StoreError, match="database is locked"), other.write(patience_s=0.05):
            pass
        assert waits_ms(other) == 250_000, "a later transaction of the same connection is as patient as ever"
    with other.write(patience_s=0.05):
        pass


def waits_ms(store: Store) -> int:
    with store.read() as connection:
        return int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())


def test_on_a_server_too(open_store: OpenStore, postgres_url: Callable[[], str]) -> None:
    store = open_store(postgres_url())
    with store.write() as connection:
        connection.exec_driver_sql("CREATE TABLE thing (number integer)")
        connection.exec_driver_sql("INSERT INTO thing VALUES (1)")
    with store.write() as holding:
        holding.exec_driver_sql("UPDATE thing SET number = 2")
        with pytest.raises(StoreError, match="lock timeout"), store.write(patience_s=0.05) as connection:
            connection.exec_driver_sql("UPDATE thing SET number = 3")
    with store.write() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"
