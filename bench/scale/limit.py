"""The bare limit of an intake: read, parse, and put the same rows under the same indexes; nothing is checked.

No hash, no validation, no flags, no look whether a run is known: what no intake can be faster than in Python on one
core. `python -m bench.scale.limit FILE DATABASE_URL` fills an empty database that has the schema.
"""

import gzip
import itertools
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson

from worker.store import schema
from worker.store.bulk import _COPIED_AS
from worker.store.engine import Store
from worker.store.payload import pack
from worker.store.tables import PayloadRow, RunRow, core

BATCH = 1_000
run, payload = core(RunRow), core(PayloadRow)
_RUN = tuple(column.name for column in run.columns)
_PAYLOAD = ("run_pk", "revision", "content_sha", "body", "received_at")
Put = Callable[[Sequence[Any], Sequence[Any]], object]


def main(path: str, url: str) -> None:
    """Fill a database."""
    store = Store(url)
    schema.ensure(store)
    raw: Any = store.engine.raw_connection()
    put = _into_sqlite(raw) if store.dialect == "sqlite" else _into_postgres(raw)
    with gzip.open(path, "rb") as file:
        keys = itertools.count(1)
        while lines := list(itertools.islice(file, BATCH)):
            rows = list(_rows(lines, keys, as_text=store.dialect == "sqlite"))
            put([facts for facts, _ in rows], [body for _, body in rows])
    raw.close()
    store.close()


def _rows(lines: Sequence[bytes], keys: Iterator[int], *, as_text: bool) -> Iterator[tuple[list[Any], list[Any]]]:
    chance = random.random
    received_at: Any = datetime.now(UTC)
    if as_text:
        received_at = received_at.isoformat(" ")[:-6]
    for line in lines:
        one = orjson.loads(line)
        key, steps = next(keys), one["steps"]
        started_at, ended_at, night = one["started_at"], one["ended_at"], one["ended_at"][:10]
        if as_text:
            started_at, ended_at = (at[:-1].replace("T", " ") + "000" for at in (started_at, ended_at))
        else:
            started_at, ended_at = datetime.fromisoformat(started_at), datetime.fromisoformat(ended_at)
            night = date.fromisoformat(night)
        known = one | {
            "pk": key,
            "source": "jsonl",
            "revision": 1,
            "content_sha": "0123456789abcdef0123456789abcdef",
            "night": night,
            "sample_key": chance(),
            "flagged": one["status"] != "completed",
            "flags": "",
            "started_at": started_at,
            "ended_at": ended_at,
            "received_at": received_at,
            "steps": len(steps),
            "tool_calls": 2,
            "tool_errors": 0,
            "tools": '{"search_help":[2,0]}',
            "cost_source": "client",
            "latency_ms": 12345.0,
            "content": "full",
        }
        texts = {"input": one["input"], "output": one["output"], "tags": {}, "vendor_ids": {}, "steps": steps}
        facts = [known.get(name) for name in _RUN]
        yield facts, [key, 1, known["content_sha"], pack(orjson.dumps(texts)), received_at]


def _into_sqlite(raw: Any) -> Put:
    cursor = raw.cursor()

    def put(facts: Sequence[Any], bodies: Sequence[Any]) -> None:
        cursor.execute("BEGIN IMMEDIATE")
        for table, names, rows in (("run", _RUN, facts), ("payload", _PAYLOAD, bodies)):
            cursor.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows)
        cursor.execute("COMMIT")

    return put


def _into_postgres(raw: Any) -> Put:
    cursor = raw.cursor()
    dialect = Store("postgresql://").engine.dialect

    def put(facts: Sequence[Any], bodies: Sequence[Any]) -> None:
        for table, names, rows in ((run, _RUN, facts), (payload, _PAYLOAD, bodies)):
            kinds = [_COPIED_AS[table.c[name].type.compile(dialect)] for name in names]
            with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(kinds)
                for row in rows:
                    copy.write_row(row)
        raw.commit()

    return put


if __name__ == "__main__":
    main(*sys.argv[1:])
