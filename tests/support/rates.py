"""Readings of how fast a judge answers."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from tests.support.ledger import NOW
from worker.store.engine import Store
from worker.store.queue import rates
from worker.store.queue.rates import Calls, RateReading


def a_reading(worker: str = "host:1", model: str = "m", at: datetime = NOW, trouble: str | None = None) -> RateReading:
    return RateReading(
        worker=worker,
        model=model,
        server="http://h/v1",
        at=at,
        since_at=at - timedelta(seconds=10),
        in_flight=3,
        waiting=0,
        limit=16,
        per_second=None,
        answered=100,
        refused=2,
        failed=1,
        latency_s=0.3,
        resumes_at=None,
        trouble=trouble,
    )


def note(store: Store, one: RateReading, fresh: Mapping[str, Calls] | None = None) -> None:
    with store.write() as connection:
        rates.record_rates(connection, [one], fresh or {one.model: Calls(10, 1, 0)})
