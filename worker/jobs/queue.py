"""The job queue as a worker uses it: a lane, its scorers, and jobs with all that scoring them takes."""

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from worker.judge.missing_models import MissingModels
from worker.project.contexts import contexts
from worker.project.prices import PriceBook, spending_limits
from worker.project.project import Project
from worker.project.stored import Unavailable
from worker.records import Run
from worker.scorers.protocol import Context, Scorer
from worker.store import schema
from worker.store.budget.accounts import SpendingLimits
from worker.store.queue import claiming, enrol, failed_attempts, judgments, leases, replies, settling, workers
from worker.store.queue.enrol import Registered
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled
from worker.store.runs import runs

Stop = Callable[[], bool]
"""Whether the process is told to stop; asked often."""


class ClaimedJob(NamedTuple):
    """A claimed job with all that scoring it takes."""

    job: Job
    scorer: Scorer
    run: Run | None
    """As a scorer may see it; None when its texts are gone."""
    context: Context


class ClaimedBatch(NamedTuple):
    """What a claim gave."""

    work: list[ClaimedJob]
    shed: int
    must_wait: bool


class LaneScorers:
    """The scorers whose jobs are open in one lane, by their keys in the store."""

    def __init__(self, entries: Iterable[tuple[Registered, Scorer]]) -> None:
        """Take them over, in their order."""
        self._entries = {registered.pk: (registered, scorer) for registered, scorer in entries}

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return not self._entries

    @property
    def pks(self) -> list[int]:
        """Their keys."""
        return list(self._entries)

    @property
    def all(self) -> list[Scorer]:
        """The scorers."""
        return [scorer for _, scorer in self._entries.values()]

    def get(self, pk: int) -> Scorer | None:
        """The scorer with a key; None when it has no open job, or is of another lane."""
        entry = self._entries.get(pk)
        return None if entry is None else entry[1]

    @cached_property
    def by_model(self) -> dict[str | None, list[int]]:
        """Keys by the model that is asked first; None for scorers that ask none. One claim takes one model's jobs."""
        result: dict[str | None, list[int]] = {}
        for pk in self._entries:
            result.setdefault(self._first_model(pk), []).append(pk)
        return result

    @cached_property
    def models(self) -> frozenset[str]:
        """Every model that may be asked, second judges included."""
        return frozenset(model for _, scorer in self._entries.values() for model in scorer.calls)

    def model_of(self, job: Job) -> str | None:
        """The model that a job's scorer asks first."""
        return self._first_model(job.scorer_pk)

    def without(self, missing: MissingModels, pks: Sequence[int]) -> list[int]:
        """Of these keys, the scorers all of whose models the server has."""
        return [pk for pk in pks if not missing.any_of(self._entries[pk][1].calls)]

    def calls(self, pks: Iterable[int]) -> int:
        """Calls to its first model that one job of these scorers may have under way, at least 1."""
        return max((next(iter(self._entries[pk][1].calls.values()), 1) for pk in pks), default=1)

    def max_usd(self, prices: PriceBook, tier: str | None) -> dict[int, float]:
        """The most that one job can cost, by the scorer's key; 0 where a price is unknown."""
        return {pk: prices.max_usd(scorer, tier) or 0.0 for pk, (_, scorer) in self._entries.items()}

    def _first_model(self, pk: int) -> str | None:
        model = self._entries[pk][0].key.spec.get("model")
        return None if model is None else str(model)


def open_scorers(project: Project, kind: str) -> tuple[list[tuple[Registered, Scorer]], list[Unavailable]]:
    """The scorers that this process can score open jobs with, and those that it cannot make.

    A job is scored by the scorer it was enrolled with, whatever files and settings say now. Without a judge configured
    here, jobs that have one are left to others; with one, jobs that were enrolled without wait to be handed over.

    Args:
        project: Whose jobs.
        kind: `heuristic` or `judge`.

    Raises:
        SchemaOutdated: The database was upgraded while this process runs.
    """
    with project.store.read() as connection:
        schema.insist_on_current(connection)
        rows = enrol.scorers_with_open_jobs(connection, kind)
    if kind == "judge":
        rows = [row for row in rows if row.is_judgeless != project.settings.is_judge_configured]
    return project.stored.make(rows)


class JobQueue:
    """One lane of the job queue, for one worker: claim with the runs, settle, give back.

    Each call is one transaction. No connection is held between calls, none while a judge is asked.
    """

    def __init__(
        self,
        project: Project,
        lane: str,
        owner: str | None = None,
        *,
        entries: Iterable[tuple[Registered, Scorer]] | None = None,
        run_pk: int | None = None,
    ) -> None:
        """Open a lane.

        Args:
            project: Whose jobs.
            lane: `heuristic`, `judge` or `batch`; in the last a judge's jobs wait to be asked together.
            owner: Who holds what is claimed here; this process when not given.
            entries: Whose jobs are claimed; None for those of every scorer with open jobs that can be made here.
            run_pk: Only jobs of this run; None for all.
        """
        self.project = project
        self._run_pk = run_pk
        self.lane = lane
        self.lease_s = project.settings.scoring.lease_s
        """Seconds a claimed job is ours; the loop renews at a third of it."""
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.unavailable: list[Unavailable] = []
        if entries is None:
            entries, self.unavailable = open_scorers(project, "judge" if lane == "batch" else lane)
        self.scorers = LaneScorers(entries)

    def claim(
        self, limit: int, scorer_pks: Sequence[int] | None = None, *, lease_s: float | None = None
    ) -> ClaimedBatch:
        """Lease due jobs and load their runs; of all scorers of this lane, or of some."""
        store = self.project.store
        with store.write() as connection:
            now = store.now(connection)
            claimed = claiming.claim(
                connection,
                now=now,
                lane=self.lane,
                scorer_pks=self.scorers.pks if scorer_pks is None else scorer_pks,
                owner=self.owner,
                limit=limit,
                lease_s=self.lease_s if lease_s is None else lease_s,
                max_attempts=self.project.settings.scoring.max_attempts,
                money=self._limits(now),
                run_pk=self._run_pk,
            )
        return ClaimedBatch(self.load(claimed.jobs), claimed.shed, claimed.must_wait)

    def settle(self, done: Sequence[Settled]) -> int:
        """Store outcomes with the answers behind them; those that another worker has taken over do not count."""
        store = self.project.store
        with store.write() as connection:
            now = store.now(connection)
            count = settling.settle(connection, done, self.owner, now, self.project.nights.of(now))
            replies.put_many(connection, answers_of(done), now)  # paid for, whoever settles the job
            judgments.put_statics(connection, (one.judgment for one in done), now)
        if count < len(done):  # this process was away for longer than its leases
            with store.write() as connection:
                now = store.now(connection)
                count += settling.settle_late(connection, done, self.owner, now, self.project.nights.of(now))
                judgments.put_statics(connection, (one.judgment for one in done), now)
        return count

    def book(self, paid: Sequence[FailedAttemptCost]) -> None:
        """Book what tries cost that came to nothing, and keep what was answered."""
        store = self.project.store
        with store.write() as connection:
            now = store.now(connection)
            failed_attempts.book_costs(connection, paid, self.owner, self.project.nights.of(now))
            replies.put_many(connection, answers_of(paid), now)

    def retry_later(self, jobs: Sequence[tuple[Job, datetime, str]]) -> None:
        """Queue jobs again, each for a time and with a reason; they have spent an attempt."""
        with self.project.store.write() as connection:
            leases.retry_later(connection, jobs, self.owner)

    def release_untried(self, jobs: Sequence[Job], reason: str | None = None, *, wait_s: float = 0.0) -> None:
        """Return jobs untried, to be taken again after so many seconds at the earliest."""
        store = self.project.store
        with store.write() as connection:
            not_before = store.now(connection) + timedelta(seconds=wait_s) if wait_s else None
            leases.release_untried(connection, jobs, self.owner, reason, not_before=not_before)

    def renew(self, jobs: Sequence[Job]) -> None:
        """Lease jobs for another `lease_s` seconds from now."""
        store = self.project.store
        with store.write() as connection:
            leases.renew(connection, jobs, self.owner, store.now(connection), self.lease_s)

    def has_other_workers(self) -> bool:
        """Whether at least two live workers serve this lane, so that what is left here may be done by another."""
        with self.project.store.read() as connection:
            live = workers.live_workers(connection, self.project.store.now(connection))
        return sum(self.lane in row["lanes"].split(",") for row in live) > 1

    def now(self) -> datetime:
        """The store's time."""
        with self.project.store.read() as connection:
            return self.project.store.now(connection)

    def _limits(self, now: datetime) -> SpendingLimits | None:
        judge = self.project.settings.judge
        if self.lane == "heuristic" or not judge.has_budget:
            return None
        tier = "batch" if self.lane == "batch" else None
        max_usd = self.scorers.max_usd(self.project.prices, tier)
        return spending_limits(judge, self.project.nights, now, max_usd)

    def load(self, jobs: Sequence[Job]) -> list[ClaimedJob]:
        """Claimed jobs with their runs, as they are now; without those of scorers that cannot be made here."""
        scored_by = [(job, scorer) for job in jobs if (scorer := self.scorers.get(job.scorer_pk)) is not None]
        if not scored_by:
            return []
        with self.project.store.read() as connection:
            loaded = runs.load(connection, sorted({job.run_pk for job, _ in scored_by}))
        shown = {pk: run.for_scorer() for pk, run in loaded.items()}
        # by the job's night, not the run's time: that is what its references were stored for
        pairs = {(job.night, shown[job.run_pk].task_type) for job, _ in scored_by if job.run_pk in shown}
        known = contexts(self.project.store, pairs)
        work = []
        for job, scorer in scored_by:
            run = shown.get(job.run_pk)
            context = known[job.night, run.task_type] if run is not None else Context()
            work.append(ClaimedJob(job, scorer, run, context))
        return work


def answers_of(outcomes: Iterable[Settled | FailedAttemptCost]) -> dict[str, bytes]:
    """The answers that are to be kept of them all, by key."""
    return {key: body for outcome in outcomes for key, body in outcome.answers.items()}
