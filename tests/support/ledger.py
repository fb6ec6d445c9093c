"""What the tests of the store are made of: runs with chosen keys, scorers, drawn nights, outcomes."""

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, func, or_, select

from worker.core import sampling
from worker.records import Draw, Run, RunFilter, ScorerKey, Stratum
from worker.store.budget.accounts import HOLDS, SpendingLimits
from worker.store.engine import Store
from worker.store.queue import claiming, enrol, leases, settling
from worker.store.queue.claiming import ClaimResult
from worker.store.queue.enrol import Registered
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled
from worker.store.results import counts
from worker.store.runs import draws, runs
from worker.store.runs.runs import Counts, Incoming
from worker.store.tables import JobRow, RunRow, ScoreRow, SpendRow, core

NIGHT = date(2026, 11, 20)
NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
LEASE_S = 90.0

job, score, run, spend = core(JobRow), core(ScoreRow), core(RunRow), core(SpendRow)
_numbers = itertools.count()
IS_HELD = or_(job.c.state == "leased", HOLDS)
"""A job for which money is reserved, not one for which it is presumed spent."""


def incoming(one: Run, *, night: date = NIGHT, key: float | None = None, flags: Sequence[str] = ()) -> Incoming:
    """A run as the intake hands it over; without a key, the one that its id gives."""
    texts = one.model_dump(mode="json", include={"input", "output", "steps", "tags", "vendor_ids"})
    sha = hashlib.sha256(orjson.dumps(one.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    drawn_by = sampling.sample_key(one.run_id) if key is None else key
    return Incoming(one, sha, orjson.dumps(texts), night, drawn_by, tuple(flags))


def small_run(run_id: str, *, night: date = NIGHT, **over: Any) -> Run:
    """A run of a few bytes that ended on a night."""
    fields: dict[str, Any] = {"run_id": run_id, "task_type": "refund", "status": "completed"}
    fields |= {"ended_at": datetime(night.year, night.month, night.day, 14, 0, tzinfo=UTC), "output": "done"}
    return Run.model_validate(fields | over)


def even_keys(count: int) -> list[float]:
    """Keys in the middle of so many equal parts of 0..1."""
    return [(index + 0.5) / count for index in range(count)]


def heuristic(
    name: str = "tool_success", version: str = "1", **applies_to: Sequence[str]
) -> tuple[ScorerKey, RunFilter]:
    """A scorer that asks nobody."""
    key = ScorerKey(name=name, version=version, kind="heuristic", fingerprint=f"{name}-{version}")
    return key, RunFilter(**applies_to)


def judge(
    name: str = "task_completion", version: str = "1", **applies_to: Sequence[str]
) -> tuple[ScorerKey, RunFilter]:
    """A scorer that asks a judge."""
    key = ScorerKey(name=name, version=version, kind="judge", fingerprint=f"{version}{name}", spec={"model": "m"})
    return key, RunFilter(**applies_to)


class Ledger:
    """A store with shorthands; each is one transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def take(self, items: Iterable[Incoming], now: datetime = NOW) -> Counts:
        with self.store.write() as connection:
            return runs.take(connection, list(items), now)

    def add_runs(
        self, count: int, *, night: date = NIGHT, task_type: str = "refund", flagged: bool = False
    ) -> list[str]:
        """So many runs of one stratum with evenly spaced keys; gives their ids in the order of keys."""
        made = [
            incoming(
                small_run(f"{task_type}-{next(_numbers)}", night=night, task_type=task_type),
                night=night,
                key=key,
                flags=("errored",) if flagged else (),
            )
            for key in even_keys(count)
        ]
        self.take(made)
        return [item.run.run_id for item in made]

    def register(self, *scorers: tuple[ScorerKey, RunFilter]) -> list[Registered]:
        with self.store.write() as connection:
            return enrol.register(connection, scorers, NOW)

    def draw(
        self,
        scorers: Sequence[Registered],
        *,
        night: date = NIGHT,
        rate: float | Mapping[Stratum, float] = 1.0,
        floor: int = 0,
        now: datetime = NOW,
    ) -> int:
        """Draw a night as the corridor does, queue its jobs, and give how many; a higher rate later adds."""
        with self.store.write() as connection:
            draw_strata(connection, night, rate, floor, now)
            if draws.mark_drawn(connection, night, now):
                enrol.enrol(connection, night, scorers, now)
            return enrol.enqueue(connection, night, scorers, now)

    def claim(
        self,
        scorers: Sequence[Registered],
        *,
        limit: int = 100,
        owner: str = "me",
        now: datetime = NOW,
        lane: str | None = None,
        money: SpendingLimits | None = None,
        max_attempts: int = 3,
    ) -> ClaimResult:
        with self.store.write() as connection:
            return claiming.claim(
                connection,
                now=now,
                lane=lane or scorers[0].lane,
                scorer_pks=[scorer.pk for scorer in scorers],
                owner=owner,
                limit=limit,
                lease_s=LEASE_S,
                max_attempts=max_attempts,
                money=money,
            )

    def settle(self, done: Sequence[Settled], *, owner: str = "me", now: datetime = NOW, day: date = NIGHT) -> int:
        """As a lane does: what comes too late in a transaction of its own."""
        with self.store.write() as connection:
            count = settling.settle(connection, done, owner, now, day)
        if count < len(done):
            with self.store.write() as connection:
                count += settling.settle_late(connection, done, owner, now, day)
        return count

    def retry(self, jobs: Sequence[Job], at: datetime, *, owner: str = "me", reason: str = "429") -> int:
        with self.store.write() as connection:
            return leases.retry_later(connection, [(job, at, reason) for job in jobs], owner)

    def give_back(self, jobs: Sequence[Job], *, owner: str = "me") -> int:
        with self.store.write() as connection:
            return leases.release_untried(connection, jobs, owner)

    def all_counts(self, current: Sequence[Registered], *, start: date | None = NIGHT) -> list[counts.NightCounts]:
        with self.store.read() as connection:
            first, last = runs.night_span(connection) or (NIGHT, NIGHT)
            return counts.night_counts(connection, first, last, current, start)

    def count(self, current: Sequence[Registered], *, start: date | None = NIGHT) -> counts.NightCounts:
        """The counts of the only night and scorer there is."""
        (only,) = self.all_counts(current, start=start)
        assert only.reconciles
        return only

    def states(self) -> dict[str, int]:
        with self.store.read() as connection:
            rows = connection.execute(select(job.c.state, func.count()).group_by(job.c.state)).all()
        return dict(rows)

    def jobs(self) -> Sequence[Row[Any]]:
        """All jobs in the order of work, with the ids of their runs."""
        statement = select(job, run.c.run_id).join(run, run.c.pk == job.c.run_pk)
        with self.store.read() as connection:
            return connection.execute(statement.order_by(job.c.night, job.c.u, job.c.run_pk, job.c.scorer_pk)).all()

    def scores(self) -> Sequence[Row[Any]]:
        with self.store.read() as connection:
            return connection.execute(select(score).order_by(score.c.pk)).all()

    def ids(self, jobs: Sequence[Job]) -> list[str]:
        """The run ids of jobs, in their order."""
        with self.store.read() as connection:
            found = {row.pk: row.run_id for row in connection.execute(select(run.c.pk, run.c.run_id))}
        return [found[job.run_pk] for job in jobs]


def at_once(store: Store, count: int, work: Callable[[Ledger, str], None]) -> None:
    """The same work in threads with stores of their own, as in processes, all starting at the same moment."""
    barrier = threading.Barrier(count)
    broken: list[BaseException] = []

    def start(number: int) -> None:
        own = Store(store.engine.url.render_as_string(hide_password=False))
        try:
            barrier.wait()
            work(Ledger(own), f"worker-{number}")
        except BaseException as error:  # noqa: BLE001 told by the test's own thread
            broken.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []


def draw_strata(
    connection: Connection, night: date, rate: float | Mapping[Stratum, float], floor: int, now: datetime
) -> int:
    """Decide every stratum that is new, or that the rate raises; gives the runs that this drew."""
    standing = draws.current_draws(connection, night)
    added = 0
    is_raised = False
    for stratum, size in draws.populations(connection, night):
        own = rate[stratum] if isinstance(rate, Mapping) else rate
        decided = sampling.threshold(draws.smallest_keys(connection, night, stratum, floor + 2), size, own, floor)
        old = standing.get(stratum)
        if old is not None and decided.value <= old["threshold"]:
            continue
        is_raised |= old is not None
        drawn = draws.count_below(connection, night, stratum, decided.value)
        record = Draw(
            night=night,
            stratum=stratum,
            population=size,
            threshold=decided.value,
            drawn=drawn,
            why=decided.why,
            drawn_at=now,
        )
        added += draws.store_draw(connection, record, own)
    if is_raised:
        enrol.reorder_jobs(connection, night)
    return added


def thresholds(store: Store, night: date = NIGHT) -> dict[Stratum, float]:
    with store.read() as connection:
        return {stratum: row["threshold"] for stratum, row in draws.current_draws(connection, night).items()}


def row(one: Job, *, value: float | None = 1.0, criterion: str | None = None, **over: Any) -> Mapping[str, Any]:
    """A row of the score table for a job."""
    return {
        "score_id": f"{one.run_pk}/{one.scorer_pk}/{criterion}",
        "run_pk": one.run_pk,
        "revision": 1,
        "night": one.night,
        "scorer_pk": one.scorer_pk,
        "criterion": criterion,
        "purpose": one.purpose,
        "replicate": one.replicate,
        "outcome": "unscored" if value is None else "scored",
        "value": value,
        "reason": "refusal" if value is None else None,
        "injection_suspected": False,
        "cost_usd": None,
    } | over


def outcome(
    one: Job, value: float | None = 1.0, *, cost_usd: float | None = 0.0, criteria: Sequence[str] = ()
) -> Settled:
    """What a worker says of a job: a value, or unscored."""
    rows = [row(one, value=value, criterion=criterion) for criterion in (None, *criteria)]
    state, reason = ("unscored", "refusal") if value is None else ("scored", None)
    return Settled(one, state, reason, cost_usd, rows)


def given_up(one: Job, *, cost_usd: float | None = 0.0) -> Settled:
    return Settled(one, "failed", "scorer_error", cost_usd, [])
