"""One worker's hold on a lane of the ledger: claim with the runs, settle, give back. Each call is one transaction."""

import math
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from worker.project.project import Project
from worker.records import Run
from worker.scorers.protocol import Context, Scorer
from worker.store.budget.accounts import RubricCap, SpendingLimits
from worker.store.queue import claiming, failed_attempts, leases, replies, settling
from worker.store.queue.enrol import Registered
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled
from worker.store.runs import runs

Stop = Callable[[], bool]


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


class JobQueue:
    """A named worker at a lane. No connection is held between calls, none across a judge call."""

    def __init__(self, project: Project, name: str, owner: str | None = None) -> None:
        """Take a place at a lane.

        Args:
            project: Whose ledger.
            name: `heuristic`, `judge` or `batch`, where a judge's jobs wait for each other.
            owner: Who holds what is claimed here; this process when not given.
        """
        self.project = project
        self.name = name
        self.lease_s = project.settings.scoring.lease_s
        """Seconds a claimed job is ours; the loop renews at a third of it."""
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        kind = "judge" if name == "batch" else name
        self._scorers: dict[int, tuple[Registered, Scorer]] = {
            registered.pk: (registered, scorer)
            for registered, scorer in project.scorers.register()
            if registered.lane == kind
        }

    @property
    def is_empty(self) -> bool:
        """Whether no scorer in force uses this lane."""
        return not self._scorers

    @cached_property
    def models(self) -> dict[str | None, list[int]]:
        """Scorers by the model that they ask first; None for those that ask none. One claim takes one model's."""
        found: dict[str | None, list[int]] = {}
        for pk in self._scorers:
            found.setdefault(self._first_model(pk), []).append(pk)
        return found

    @cached_property
    def models_asked(self) -> frozenset[str]:
        """Every model that may be asked, second judges included."""
        return frozenset(model for _, scorer in self._scorers.values() for model in scorer.calls)

    def calls(self, scorer_pks: Iterable[int]) -> int:
        """Calls to its first model that one job of these scorers may have under way, at least 1."""
        return max((next(iter(self._scorers[pk][1].calls.values()), 1) for pk in scorer_pks), default=1)

    def model_of(self, job: Job) -> str | None:
        """The model that a job's scorer asks first."""
        return self._first_model(job.scorer_pk)

    def _first_model(self, scorer_pk: int) -> str | None:
        model = self._scorers[scorer_pk][0].key.spec.get("model")
        return None if model is None else str(model)

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
                lane=self.name,
                scorer_pks=list(self._scorers) if scorer_pks is None else scorer_pks,
                owner=self.owner,
                limit=limit,
                lease_s=self.lease_s if lease_s is None else lease_s,
                max_attempts=self.project.settings.scoring.max_attempts,
                money=self._money(now),
            )
        return ClaimedBatch(self.load(claimed.jobs), claimed.shed, claimed.must_wait)

    def settle(self, done: Sequence[Settled]) -> int:
        """Store outcomes with the answers behind them; those that another worker has taken over do not count."""
        store = self.project.store
        with store.write() as connection:
            now = store.now(connection)
            count = settling.settle(connection, done, self.owner, now, self.project.nights.of(now))
            replies.put_many(connection, answers_of(done), now)  # paid for, whoever settles the job
        if count < len(done):  # this process was away for longer than its leases
            with store.write() as connection:
                now = store.now(connection)
                count += settling.settle_late(connection, done, self.owner, now, self.project.nights.of(now))
        return count

    def book(self, paid: Sequence[FailedAttemptCost]) -> None:
        """Book what tries cost that came to nothing, and keep what was answered."""
        store = self.project.store
        with store.write() as connection:
            now = store.now(connection)
            failed_attempts.book_costs(connection, paid, self.owner, self.project.nights.of(now))
            replies.put_many(connection, answers_of(paid), now)

    def retry_later(self, jobs: Sequence[tuple[Job, datetime, str]]) -> None:
        """Queue jobs again for a later time."""
        with self.project.store.write() as connection:
            leases.retry_later(connection, jobs, self.owner)

    def give_back(self, jobs: Sequence[Job], reason: str | None = None, *, wait_s: float = 0.0) -> None:
        """Return jobs untried, to be taken again after so many seconds at the earliest."""
        store = self.project.store
        with store.write() as connection:
            not_before = store.now(connection) + timedelta(seconds=wait_s) if wait_s else None
            leases.release_untried(connection, jobs, self.owner, reason, not_before=not_before)

    def renew(self, jobs: Sequence[Job]) -> None:
        """Hold on to jobs."""
        store = self.project.store
        with store.write() as connection:
            leases.renew(connection, jobs, self.owner, store.now(connection), self.lease_s)

    def now(self) -> datetime:
        """The store's time."""
        with self.project.store.read() as connection:
            return self.project.store.now(connection)

    def _money(self, now: datetime) -> SpendingLimits | None:
        judge = self.project.settings.judge
        if self.name == "heuristic" or not judge.has_budget:
            return None
        cap = math.inf if judge.budget_usd_per_day is None else judge.budget_usd_per_day
        tier = "batch" if self.name == "batch" else None
        most: Mapping[int, float] = {
            pk: self.project.prices.max_usd(scorer, tier) or 0.0 for pk, (_, scorer) in self._scorers.items()
        }
        rubrics = {name: RubricCap(own.usd_per_day, own.usd_per_month) for name, own in judge.budgets.items()}
        return SpendingLimits(self.project.nights.of(now), cap, most, judge.budget_usd_per_month, rubrics)

    def load(self, jobs: Sequence[Job]) -> list[ClaimedJob]:
        """Claimed jobs with their runs, as they are now; without those of scorers that are not in force any more."""
        jobs = [job for job in jobs if job.scorer_pk in self._scorers]
        if not jobs:
            return []
        with self.project.store.read() as connection:
            loaded = runs.load(connection, sorted({job.run_pk for job in jobs}))
        seen = {pk: run.for_scorer() for pk, run in loaded.items()}
        # by the job's night, not the run's time: that is what its references were stored for
        pairs = {(job.night, seen[job.run_pk].task_type) for job in jobs if job.run_pk in seen}
        contexts = self.project.scorers.contexts(pairs)
        work = []
        for job in jobs:
            run = seen.get(job.run_pk)
            context = contexts[job.night, run.task_type] if run is not None else Context()
            work.append(ClaimedJob(job, self._scorers[job.scorer_pk][1], run, context))
        return work


def answers_of(each: Iterable[Settled | FailedAttemptCost]) -> dict[str, bytes]:
    """What is to be kept of them all, by key."""
    return {key: body for one in each for key, body in one.answers.items()}
