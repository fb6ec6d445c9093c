"""The projects of the command matrix: empty, small and large, each the same on SQLite and on PostgreSQL.

A project is made once on SQLite, by the product's own commands, and copied row by row to PostgreSQL, so that both
stores hold the same keys and must give the same answers. The large one is what a release left (findings in every state,
open jobs, batches, alerts on their way, two series of one rubric) with several hundred runs more.
"""

import gzip
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Table, func, insert, select, text

from tests.support import stores
from tests.support.documents import lines
from tests.support.servers import Databases
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, JudgeServer
from worker.jobs.capability_store import server_of
from worker.project.project import Project
from worker.settings import Settings
from worker.store import schema, tables
from worker.store.engine import Store

RELEASE = Path(__file__).parents[1] / "data" / "releases" / "0.1.0"
CLOCK = "2026-10-26T12:00:00+00:00@2026-10-26T12:00:00+00:00 x0.000001"
"""At which the release was left, and hardly moving."""
NIGHT = date(2026, 10, 25)
_ROWS = 2_000


class Template(NamedTuple):
    """A project to copy: its SQLite file and its PostgreSQL database, to neither of which anybody is connected."""

    name: str
    sqlite: Path
    postgresql: str


def environment(judge: JudgeServer) -> dict[str, str]:
    """The addresses that every row is run with, but for the database's."""
    return {
        "SPOTCHECK_BROKER_URL": "memory://",
        "SPOTCHECK_CLOCK": CLOCK,
        "SPOTCHECK_JUDGE_MODEL": MODEL,
        "OPENAI_BASE_URL": judge.base_url,
        "BROWSER": "true",  # a program that shows nothing
    }


def prepare(folder: Path) -> Path:
    """A folder with the policy and prompts of the release, and files to take in."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(RELEASE / "prompts", folder / "prompts")
    shutil.copy(RELEASE / "spotcheck.toml", folder)
    (folder / "good.jsonl").write_bytes(lines(*_more(30, "taken")))
    (folder / "mixed.jsonl").write_bytes(lines(*_more(3, "mixed")) + b'{"run_id": 1}\nno json\n')
    (folder / "bad.jsonl").write_bytes(b"no json\n")
    (folder / "nothing.jsonl").write_bytes(b"")
    return folder


def make(name: str, folder: Path, databases: Databases, empty: tuple[Path, str], judge: JudgeServer) -> Template:
    """Make a project of a kind; `empty` has the schema and nothing else."""
    if name == "empty":
        return Template(name, *empty)
    shell = Shell(prepare(folder), environment(judge))
    if name == "small":
        shutil.copy(empty[0], folder / stores.NAME)
        assert shell("ingest", "-", stdin=lines(*_few())).code == 0
        done = shell("nightly", "--since", "2026-10-24", "--until", "2026-10-25", "--wait")
        assert done.code == 0, done
    else:
        (folder / stores.NAME).write_bytes(gzip.decompress((RELEASE / "spotcheck.sqlite3.gz").read_bytes()))
        assert shell("db", "upgrade").code == 0
        assert shell("ingest", "-", stdin=lines(*_few(), *_more(600, "more"))).code == 0
        _give_batches_to(judge, stores.sqlite_url(folder))
    url = databases(empty[1])
    _copy(stores.sqlite_url(folder), url)
    return Template(name, folder / stores.NAME, url)


def _few() -> Iterator[dict[str, Any]]:
    """A dozen runs of two nights, one of them known from two sources."""
    for number in range(12):
        yield _document(f"r-{number}", NIGHT - timedelta(days=number % 2), source="shop")
    yield _document("twice", NIGHT, source="shop")
    yield _document("twice", NIGHT, source="mirror")
    yield _document("odd-1", NIGHT, source="shop", task_type="odd\ntype", agent="<b>bot</b>", agent_version="=2+2")
    yield _document("odd-2", NIGHT, source="shop", task_type="=1+1", status="errored", error="it broke\x1b[2J")


def _more(count: int, prefix: str) -> Iterator[dict[str, Any]]:
    """Runs of the last weeks, by several agents."""
    for number in range(count):
        yield _document(
            f"{prefix}-{number:03}",
            NIGHT - timedelta(days=number % 30),
            source="shop",
            task_type=("refund", "faq", "sales_report", "research")[number % 4],
            status=("completed", "completed", "completed", "aborted", "errored", "incomplete")[number % 6],
            agent=("bot", "scout", "other")[number % 3],
            agent_version=("1.1", "2.0")[number % 2],
            cost_usd=0.01 * (1 + number % 7),
            output=None if number % 11 == 0 else f"It is done: case {number}.",
        )


def _document(run_id: str, night: date, **over: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "task_type": "refund",
        "status": "completed",
        "ended_at": f"{night}T09:30:00Z",
        "started_at": f"{night}T09:29:00Z",
        "agent": "bot",
        "agent_version": "1.0",
        "input": "Please refund order 4711, the lamp came broken.",
        "output": "I have refunded $41.50 for order 4711.",
        "steps": [{"kind": "tool", "name": "look_up", "arguments": {"order": 4711}, "result": "found"}],
        **over,
    }


def _give_batches_to(judge: JudgeServer, url: str) -> None:
    """The release's batches are this judge's."""
    store = Store(url)
    server = server_of(Project(Settings.read({"OPENAI_BASE_URL": judge.base_url}, ""), store))
    with store.write() as connection:
        connection.execute(text("UPDATE batch SET server = :server"), {"server": server})
    store.close()


def _copy(source: str, target: str) -> None:
    """Every row of one store into another that has the schema and nothing else."""
    old, new = Store(source), Store(target)
    with old.read() as reading, new.write() as writing:
        for table in tables.metadata().sorted_tables:
            rows = [dict(row) for row in reading.execute(select(table)).mappings()]
            writing.execute(table.delete())
            for start in range(0, len(rows), _ROWS):
                writing.execute(insert(table), rows[start : start + _ROWS])
            _count_on(writing, table)
    assert schema.state(new) == "current"
    old.close()
    new.close()


def _count_on(connection: Any, table: Table) -> None:
    """Let the keys that the server makes go on after those that were copied."""
    for column in table.primary_key.columns:
        named = connection.execute(select(func.pg_get_serial_sequence(table.name, column.name))).scalar()
        if named is not None:
            most = connection.execute(select(func.max(column))).scalar()
            connection.execute(select(func.setval(named, most or 1, most is not None)))
