"""How the judge engine stands at this moment: pace, queue, money and trouble, by model. Cheap enough to ask for ever.

The figures of a pace are a few seconds old: each process says its own every three seconds while it works.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker.jobs.capability_store import load_plans
from worker.judge.capabilities import plan_keys
from worker.project.project import Project
from worker.queries.alerts import DestinationStatus, destination_statuses
from worker.queries.budgets import BudgetStatus, budgets
from worker.records import ScorerKey
from worker.records.job import LANES
from worker.store.budget import accounts
from worker.store.budget.accounts import AccountBalance as AccountBalance  # for those who may not see the store
from worker.store.queue import batches, enrol, progress, workers
from worker.store.queue import rates as paces
from worker.store.queue.backlog import Backlog as Backlog
from worker.store.queue.backlog import BlockedJobs as BlockedJobs
from worker.store.queue.batches import Batch as Batch
from worker.store.queue.progress import OpenJobs
from worker.store.queue.rates import RateReading
from worker.store.results import scores

RECENT_S = 12.0
"""A process that said nothing for so long asks nobody at the moment."""
_TROUBLE_KEPT = timedelta(hours=1)
"""Trouble is told so long where nothing waits for the model; where something does, for as long as it is known."""
_UNPRICED_KEPT = timedelta(seconds=10)
"""Whether answers have a price, and whether counts of tokens are right, is looked up no more often."""
NOTHING = AccountBalance(0.0, 0.0, 0.0)
_DUST_USD = 1e-9


class ModelStatus(NamedTuple):
    """One judge's model."""

    model: str
    server: str | None
    """The judge's address as it may be shown; None where nobody asked it lately."""
    processes: int
    """Those that asked it in the last seconds."""
    calls_per_s: float
    """Calls that ended in a second, of the last seconds."""
    refused: float | None
    """Share of them that was refused (429), 0..1; None without calls."""
    failed: float | None
    """Share of them without an answer (5xx, time-outs, hang-ups), 0..1; None without calls."""
    in_flight: int
    waiting: int
    """Calls that are ready and wait for their turn."""
    limit: int
    """Calls that may be under way, all processes together."""
    starts_per_s: float | None
    """Calls that may start in a second, all processes together; None while nothing bounds them."""
    latency_s: float | None
    """Of an answer, lately; None where nobody asked it lately."""
    queue: Backlog
    spent: AccountBalance
    """Today."""
    trouble: str | None
    """Why nothing is asked; None where the last that was heard of it was an answer."""
    trouble_at: datetime | None
    """When it was last met."""
    resumes_at: datetime | None
    """When the next call may start, where the server is left alone."""
    counts: str | None = None
    """What is wrong with its counts of tokens, as in `records.Judging`; None where nothing is."""


class ScorerSpent(NamedTuple):
    """What one scorer's judging cost today."""

    key: ScorerKey | None
    """None for what was booked before accounts were kept by scorer."""
    spent: AccountBalance


class WorkerStatus(NamedTuple):
    """A live worker."""

    name: str
    lanes: str
    """As in the ledger, separated by commas."""
    pid: int
    seen_at: datetime
    """Its last heartbeat."""
    revision: int | None = None
    """Number of the revision that it works by; None for a worker that draws nothing."""
    release: str | None = None
    trouble: str | None = None
    """Why its configuration is not the active one, or what it cannot score; None when all is well."""


class EngineStatus(NamedTuple):
    """The judge engine at one moment: queue, judges, batches, workers, money."""

    at: datetime
    """By the store's clock."""
    lanes: dict[str, Backlog]
    """What is open, by lane; the times are real, also in a rehearsal."""
    by_scorer: list[tuple[ScorerKey, OpenJobs]]
    models: list[ModelStatus]
    batches: list[Batch]
    """Those on their way, the oldest first."""
    workers: Sequence[WorkerStatus]
    """Those whose heartbeat is recent, by name."""
    day: date
    spent: AccountBalance
    """Today, by the schedule's time zone."""
    month: AccountBalance
    spent_by: list[ScorerSpent]
    capped: list[BudgetStatus]
    """Rubrics that have a cap of their own."""
    destinations: list[DestinationStatus]
    """Where alerts go."""
    backfill: AccountBalance = NOTHING
    """What backfills have spent today; included in `spent`."""
    unpriced: Sequence[str] = ()
    """Models in force that answered today, of which no answer has a known price."""

    def with_unpriced(self, spent: str) -> str:
        """What nights have spent today, as it is shown, with the models of which nobody knows what they cost.

        Example: `an unknown price (my-model)`; `$0.0300 and an unknown price (my-model)`; `$0.0300`.
        """
        if not self.unpriced:
            return spent
        unknown = f"an unknown price ({', '.join(self.unpriced)})"
        return f"{spent} and {unknown}" if self.nightly.spent_usd else unknown

    @property
    def nightly(self) -> AccountBalance:
        """What nights have spent today."""
        return _rest(self.spent, self.backfill)

    @property
    def lost(self) -> int:
        """Jobs that are leased to workers which are gone."""
        return sum(jobs.lost for _, jobs in self.by_scorer)


class StatusReader:
    """Reads the status again and again; what does not change is read once."""

    def __init__(self, project: Project) -> None:
        """Nothing is read yet."""
        self._project = project
        self._keys: dict[int, ScorerKey] = {}
        self._in_force: dict[int, str] | None = None
        self._unpriced: tuple[datetime, Sequence[str]] | None = None
        self._counts: tuple[datetime, Mapping[str, str]] | None = None

    def read(self) -> EngineStatus:
        """The status: a dozen small queries in one transaction.

        Raises:
            StoreError: The database does not answer.
            SettingsError, RubricError: A scorer in force is wrong.
        """
        if self._in_force is None:
            models = ((row.pk, _model(row.key)) for row in self._project.scorers.active())
            self._in_force = {pk: model for pk, model in models if model is not None}
        with self._project.store.read() as connection:
            return self._read(connection, self._in_force)

    def _read(self, connection: Connection, models: Mapping[int, str]) -> EngineStatus:
        in_force = list(dict.fromkeys(models.values()))
        at = self._project.store.now(connection)
        day = self._project.nights.of(at)
        open_jobs = [self._in_real_time(jobs) for jobs in progress.open_jobs(connection, at)]
        said = paces.readings(connection, at)
        spent = accounts.balances_by_scorer(connection, day)
        of_all, *by_rubric = budgets(self._project, connection)
        open_batches = [batch for batch in batches.recent_batches(connection, at) if batch.state != "done"]
        alive = [
            WorkerStatus._make(row[field] for field in WorkerStatus._fields)
            for row in workers.live_workers(connection, at)
        ]
        self._know(connection, {jobs.scorer_pk for jobs in open_jobs} | set(spent))
        by_scorer = [(self._keys[jobs.scorer_pk], jobs) for jobs in open_jobs if jobs.scorer_pk in self._keys]
        spent_by = [ScorerSpent(self._keys.get(pk), balance) for pk, balance in spent.items() if any(balance)]
        lanes = {
            lane: progress.total_backlog([jobs for jobs in open_jobs if jobs.lane == lane])
            for lane in _lanes(open_jobs)
        }
        return EngineStatus(
            at=at,
            lanes=lanes,
            by_scorer=by_scorer,
            models=[
                model._replace(counts=_counts(model.model, self._counting(connection, at)))
                for model in _models(at, in_force, said, by_scorer, spent_by)
            ],
            batches=open_batches,
            workers=alive,
            day=day,
            spent=_total(balance for balance in spent.values()),
            month=of_all.month,
            spent_by=spent_by,
            capped=[
                budget for budget in by_rubric if budget.usd_per_day is not None or budget.usd_per_month is not None
            ],
            destinations=destination_statuses(self._project.settings, connection),
            backfill=_rest(_total(spent.values()), of_all.today),
            unpriced=self._without_price(connection, at, models, spent),
        )

    def _without_price(
        self, connection: Connection, at: datetime, models: Mapping[int, str], spent: Mapping[int, AccountBalance]
    ) -> Sequence[str]:
        """The models of scorers on whose account nothing is though they were answered today; not asked at each look."""
        if self._unpriced is None or at - self._unpriced[0] > _UNPRICED_KEPT:
            since = self._project.nights.begins_at(self._project.nights.of(at))
            free = {pk: model for pk, model in models.items() if not spent.get(pk, NOTHING).spent_usd}
            named = [model for pk, model in free.items() if scores.has_unpriced(connection, pk, since)]
            self._unpriced = at, list(dict.fromkeys(named))
        return self._unpriced[1]

    def _counting(self, connection: Connection, at: datetime) -> Mapping[str, str]:
        """What is wrong with counts of tokens, by `plan_key`; not asked at each look."""
        if self._counts is None or at - self._counts[0] > _UNPRICED_KEPT:
            plans = load_plans(self._project, at, connection)
            self._counts = at, {key: plan.counts for key, plan in plans.items() if plan.counts}
        return self._counts[1]

    def _know(self, connection: Connection, pks: set[int]) -> None:
        if new := pks - set(self._keys):
            self._keys |= {entry.pk: entry.key for entry in enrol.registered(connection, sorted(new))}

    def _in_real_time(self, jobs: OpenJobs) -> OpenJobs:
        """Jobs are dated by the schedule's clock, which a rehearsal turns."""
        if jobs.oldest_at is None:
            return jobs
        return jobs._replace(oldest_at=self._project.settings.clock.real(jobs.oldest_at))


def count_live_workers(project: Project) -> int:
    """How many workers of all lanes have a recent heartbeat."""
    with project.store.read() as connection:
        return len(workers.live_workers(connection, project.store.now(connection)))


def is_batch(owner: str) -> bool:
    """Whether jobs that this owner holds are in a batch, and not with a worker process."""
    return batches.is_batch(owner)


def batch_of(project: Project, owner: str) -> Batch | None:
    """The batch that holds jobs as this owner; None where it ended some days ago."""
    with project.store.read() as connection:
        known = batches.recent_batches(connection, project.store.now(connection))
    return next((batch for batch in known if batch.owner == owner), None)


def _lanes(open_jobs: Sequence[OpenJobs]) -> list[str]:
    """Those that are drained, and others that hold jobs."""
    return list(dict.fromkeys([*LANES, *(jobs.lane for jobs in open_jobs)]))


def _model(key: ScorerKey | None) -> str | None:
    model = None if key is None else key.spec.get("model")
    return None if model is None else str(model)


def _counts(model: str, counting: Mapping[str, str]) -> str | None:
    """What is wrong with a model's counts of tokens, over whichever backend it was asked."""
    return next((counting[key] for key in plan_keys(model) if key in counting), None)


def _rest(total: AccountBalance, part: AccountBalance) -> AccountBalance:
    """What a part leaves of a total, without the rounding of either sum."""
    left = (all_ - own for all_, own in zip(total, part, strict=True))
    return AccountBalance(*(usd if usd > _DUST_USD else 0.0 for usd in left))


def _total(balances: Iterable[AccountBalance]) -> AccountBalance:
    return (
        AccountBalance(*(sum(amounts) for amounts in zip(*balances, strict=True)))
        if (balances := list(balances))
        else NOTHING
    )


def _models(
    at: datetime,
    in_force: Sequence[str],
    said: Sequence[RateReading],
    by_scorer: Sequence[tuple[ScorerKey, OpenJobs]],
    spent_by: Sequence[ScorerSpent],
) -> list[ModelStatus]:
    """Every model that is in force, asked, waited for or paid today."""
    jobs: dict[str, list[OpenJobs]] = defaultdict(list)
    for key, open_jobs in by_scorer:
        if (model := _model(key)) is not None:
            jobs[model].append(open_jobs)
    spent: dict[str, list[AccountBalance]] = defaultdict(list)
    for account in spent_by:
        if (model := _model(account.key)) is not None:
            spent[model].append(account.spent)
    heard: dict[str, list[RateReading]] = defaultdict(list)
    for reading in said:
        heard[reading.model].append(reading)
    asked = {model for model, readings in heard.items() if _is_recent(readings[0], at)}
    named = list(dict.fromkeys([*in_force, *sorted({*asked, *jobs, *spent})]))
    found = []
    for model in named:
        queue = progress.total_backlog(jobs.get(model, []))
        found.append(_model_now(at, model, heard.get(model, []), queue, _total(spent.get(model, []))))
    return found


def _model_now(
    at: datetime, model: str, heard: Sequence[RateReading], queue: Backlog, spent: AccountBalance
) -> ModelStatus:
    """One model, from what its processes said, the newest first."""
    lately = [reading for reading in heard if _is_recent(reading, at)]
    newest = heard[0] if heard else None
    is_wanted = queue.due + queue.later + queue.leased > 0
    has_trouble = newest is not None and newest.trouble is not None
    is_told = newest is not None and has_trouble and (is_wanted or at - newest.at < _TROUBLE_KEPT)
    calls, rates = _rates(lately)
    bounds = [reading.per_second for reading in lately]
    latencies = [reading.latency_s for reading in lately if reading.latency_s is not None]
    resumes = [reading.resumes_at for reading in lately if reading.resumes_at is not None and reading.resumes_at > at]
    return ModelStatus(
        model=model,
        server=newest.server if newest is not None else None,
        processes=len(lately),
        calls_per_s=sum(rates.values()),
        refused=calls["refused"] / total if (total := sum(calls.values())) else None,
        failed=calls["failed"] / total if total else None,
        in_flight=sum(reading.in_flight for reading in lately),
        waiting=sum(reading.waiting for reading in lately),
        limit=sum(reading.limit for reading in lately),
        starts_per_s=sum(bound for bound in bounds if bound is not None) if bounds and None not in bounds else None,
        latency_s=sum(latencies) / len(latencies) if latencies else None,
        queue=queue,
        spent=spent,
        trouble=newest.trouble if newest is not None and is_told else None,
        trouble_at=newest.at if newest is not None and is_told else None,
        resumes_at=min(resumes, default=None),
    )


def _is_recent(reading: RateReading, at: datetime) -> bool:
    return at - reading.at < timedelta(seconds=RECENT_S)


def _rates(lately: Sequence[RateReading]) -> tuple[Mapping[str, int], Mapping[str, float]]:
    """Calls of the last seconds by how they ended, and how many of them a second."""
    calls, rates = defaultdict[str, int](int), defaultdict[str, float](float)
    for reading in lately:
        seconds = max(0.5, (reading.at - reading.since_at).total_seconds())
        for name in ("answered", "refused", "failed"):
            count = getattr(reading, name)
            calls[name] += count
            rates[name] += count / seconds
    return calls, rates
