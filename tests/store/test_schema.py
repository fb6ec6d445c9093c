from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from tests.support.ledger import Ledger, at_once, heuristic
from worker.errors import SchemaOutdated
from worker.store import schema, tables
from worker.store.engine import Store


def run(store: Store, sql: str) -> None:
    with store.write() as connection:
        connection.exec_driver_sql(sql)


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Store]:
    """A store without a schema."""
    opened = Store(empty_database_url)
    yield opened
    opened.close()


def test_an_empty_database_gets_its_schema_and_upgrading_again_changes_nothing(empty: Store) -> None:
    assert schema.state(empty) == "empty"
    schema.ensure(empty)
    assert schema.state(empty) == "current"
    Ledger(empty).register(heuristic())
    schema.upgrade(empty)
    schema.upgrade(empty)
    schema.ensure(empty)
    with empty.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM scorer").scalar_one() == 1
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == schema.head()


def test_the_version_this_program_needs_is_the_newest_migration() -> None:
    assert schema.head() == ScriptDirectory.from_config(schema._config()).get_current_head()


def test_migrating_ends_in_the_schema_of_the_tables(store: Store) -> None:
    with store.write() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata()) == []


def test_indexes_have_the_columns_and_conditions_of_the_tables(store: Store) -> None:
    with store.read() as connection:
        seen = inspect(connection)
        for table in tables.metadata().tables.values():
            found = {index["name"]: index for index in seen.get_indexes(table.name)}
            for index in table.indexes:
                there = found[str(index.name)]
                assert there["column_names"] == [column.name for column in index.columns]
                where = there.get("dialect_options", {}).get(f"{store.dialect}_where")
                wanted = index.dialect_options[store.dialect]["where"]
                assert (where is None) == (wanted is None), index.name
                if wanted is not None:
                    (state,) = [condition for condition in ("queued", "leased") if condition in str(wanted)]
                    assert state in str(where)


def test_the_schema_can_be_taken_back_whole(empty: Store) -> None:
    schema.ensure(empty)
    with empty.write() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with empty.read() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_a_database_of_another_program_is_left_alone(empty: Store) -> None:
    run(empty, "CREATE TABLE customers (name TEXT)")
    assert schema.state(empty) == "newer"
    with pytest.raises(SchemaOutdated, match="point SPOTCHECK_DATABASE_URL elsewhere") as caught:
        schema.ensure(empty)
    assert "\n" not in str(caught.value)
    assert caught.value.retry is False
    with empty.read() as connection:
        assert inspect(connection).get_table_names() == ["customers"]


def test_a_newer_schema_is_refused(empty: Store) -> None:
    schema.ensure(empty)
    run(empty, "UPDATE alembic_version SET version_num = '9999'")
    assert schema.state(empty) == "newer"
    with pytest.raises(SchemaOutdated, match="install that version"):
        schema.ensure(empty)


def test_a_migration_that_breaks_leaves_an_empty_database(empty: Store) -> None:
    def migrate_and_break() -> None:
        with empty.write() as connection:
            schema._run(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        migrate_and_break()
    assert schema.state(empty) == "empty"


def test_first_starts_at_once_end_in_one_schema(empty: Store) -> None:
    told: list[str] = []

    def start(own: Ledger, _: str) -> None:
        schema.ensure(own.store)
        told.append(schema.state(own.store))

    at_once(empty, 4, start)
    assert told == ["current"] * 4


def test_an_older_database_is_upgraded_with_its_runs_and_their_figures_are_owed(empty: Store) -> None:
    with empty.write() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        columns = {column["name"]: column for column in inspect(connection).get_columns("run")}
        needed = [name for name, column in columns.items() if not column["nullable"] and name != "pk"]
        values = dict.fromkeys(needed, "'x'") | {"night": "'2026-11-20'", "sample_key": "0.5", "flagged": "false"}
        values |= dict.fromkeys(("ended_at", "received_at"), "'2026-11-20 10:00:00+00:00'")
        values |= dict.fromkeys(("revision", "steps", "tool_calls", "tool_errors"), "1")
        if empty.dialect == "sqlite":
            values |= dict.fromkeys(("ended_at", "received_at"), "'2026-11-20 10:00:00.000000'")
        names, given = ", ".join(needed), ", ".join(values[name] for name in needed)
        connection.exec_driver_sql(f"INSERT INTO run ({names}) VALUES ({given})")
    assert schema.state(empty) == "older"
    with pytest.raises(SchemaOutdated, match="spotcheck db upgrade"):
        schema.ensure(empty)
    schema.upgrade(empty)
    assert schema.state(empty) == "current"
    with empty.read() as connection:
        owed = connection.exec_driver_sql("SELECT CAST(night AS VARCHAR), is_stale FROM pulse_night").all()
        assert [(night, bool(is_stale)) for night, is_stale in owed] == [("2026-11-20", True)]
        assert connection.exec_driver_sql("SELECT count(*) FROM run").scalar_one() == 1
