"""Three workers, and all that can go wrong: at every step the books balance, at the end nothing is lost or doubled."""

import random
from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from tests.support.ledger import (
    IS_HELD,
    LEASE_S,
    NIGHT,
    NOW,
    Ledger,
    draw_strata,
    even_keys,
    given_up,
    heuristic,
    incoming,
    job,
    judge,
    outcome,
    run,
    score,
    small_run,
    spend,
)
from worker.store.budget import accounts as money
from worker.store.budget.accounts import RubricCap, SpendingLimits
from worker.store.engine import Store
from worker.store.queue import backfill as backfilling
from worker.store.queue import backlog, enrol, failed_attempts, handover, leases
from worker.store.queue.enrol import Registered
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled
from worker.store.results import counts
from worker.store.runs import draws, runs
from worker.store.tables import CutRow, DrawRow, ScorerRow, core

draw, cut, scorer = core(DrawRow), core(CutRow), core(ScorerRow)
NIGHTS = (NIGHT - timedelta(1), NIGHT)
FINAL = {"scored", "unscored", "failed", "shed"}
CAP_USD, MOST_USD, BACKFILL_CAP_USD = 2.0, 0.05, 0.7
OWN = {"task_completion": RubricCap(usd_per_day=1.6), "tone": RubricCap(usd_per_day=0.6, usd_per_month=1.0)}


class Walk:
    """A random walk over everything that may be done to the ledger, in any order."""

    def __init__(self, store: Store, seed: int) -> None:
        self.ledger, self.store = Ledger(store), store
        self.random = random.Random(seed)
        self.now = NOW
        self.rate = 0.2
        self.late = 0
        self.held: dict[str, list[Job]] = {"a": [], "b": [], "c": []}
        self.past: list[tuple[str, Job]] = []
        """Jobs that their worker has no right to any more: settled, returned, or lost in a crash."""
        self.booked: defaultdict[tuple[date, str], float] = defaultdict(float)
        """What calls did cost, as their workers were told that it counted, by day and rubric."""
        self.lost_usd = 0.0
        """Presumed spent, and not corrected since."""
        self.came_late = 0
        self.backfilled = 0
        self.has_own_cap = seed % 2 == 1
        self.scorers = self.ledger.register(
            heuristic(),
            heuristic("errors", statuses=("errored",)),
            judge(task_types=("refund",)),
            judge("tone"),
        )
        for night in NIGHTS:
            self.take(night, 30)
            self.ledger.draw(self.scorers, night=night, rate=self.rate, floor=2)

    def take(self, night: Any, count: int) -> None:
        batch = []
        for key in even_keys(count):
            self.late += 1
            status = self.random.choice(["completed", "completed", "errored"])
            task_type = self.random.choice(["refund", "refund", "billing"])
            one = small_run(f"w-{self.late}", night=night, status=status, task_type=task_type)
            flags = ("errored",) if status == "errored" else ()
            batch.append(incoming(one, night=night, key=self.random.uniform(0, 1) * key, flags=flags))
        self.ledger.take(batch, self.now)

    def money(self) -> SpendingLimits:
        most = {scorer.pk: MOST_USD for scorer in self.scorers}
        return SpendingLimits(
            (self.now - timedelta(hours=2)).date(),
            CAP_USD,
            most,
            rubrics=OWN,
            backfill_cap_usd=BACKFILL_CAP_USD if self.has_own_cap else None,
            resumes_at=self.now + timedelta(hours=3),
        )

    def step(self) -> None:
        worker = self.random.choice(list(self.held))
        actions: list[tuple[Any, int]] = [
            (self.claim, 30), (self.settle, 25), (self.retry, 8), (self.give_back, 6), (self.renew, 4),
            (self.crash, 5), (self.haunt, 12), (self.wait, 12), (self.come_late, 3), (self.reconcile, 5),
            (self.raise_rate, 1), (self.change_judge, 1), (self.pay_in_vain, 6), (self.backfill, 3),
        ]  # fmt: skip
        ((action,),) = [self.random.choices([act for act, _ in actions], [weight for _, weight in actions])]
        action(worker)

    def claim(self, worker: str) -> None:
        lane = self.random.choice(["heuristic", "judge"])
        mine = [scorer for scorer in self.scorers if scorer.lane == lane]
        money = self.money() if lane == "judge" else None
        self.note_lost()
        claim = self.ledger.claim(
            mine, limit=self.random.randint(1, 6), owner=worker, now=self.now, money=money, max_attempts=4
        )
        self.held[worker] += claim.jobs

    def note_lost(self) -> None:
        """What the next claim will presume spent."""
        is_lost = (job.c.state == "leased", job.c.lease_until < self.now, job.c.reserved_day.is_not(None))
        with self.store.read() as connection:
            count = connection.execute(select(func.count()).where(*is_lost)).scalar_one()
        self.lost_usd += count * MOST_USD

    def say(self, worker: str, done: Settled) -> None:
        """Settle one, and book on our side what the ledger has to have booked."""
        with self.store.read() as connection:
            before = connection.execute(select(job).where(job.c.pk == done.job.pk)).one()
        if not self.ledger.settle([done], owner=worker, now=self.now, day=NIGHT):
            return
        name = next(entry.key.name for entry in self.everyone() if entry.pk == done.job.scorer_pk)
        cost = before.reserved_usd if done.cost_usd is None else done.cost_usd
        self.booked[before.reserved_day or NIGHT, name] += cost
        if before.state != "leased":
            self.came_late += 1
            self.lost_usd -= before.reserved_usd

    def everyone(self) -> list[Registered]:
        with self.store.read() as connection:
            return enrol.registered(connection)

    def some(self, worker: str) -> list[Job]:
        mine = self.held[worker]
        chosen = self.random.sample(mine, self.random.randint(0, len(mine)))
        self.held[worker] = [job for job in mine if job not in chosen]
        self.past += [(worker, job) for job in chosen]
        return chosen

    def said(self, one: Job) -> Settled:
        cost = self.random.choice([0.01, MOST_USD, None]) if one.reserved_day else 0.0
        if self.random.random() < 0.1:
            return given_up(one, cost_usd=cost)
        return outcome(one, self.random.choice([0.0, 1.0, None]), cost_usd=cost, criteria=("tone",))

    def settle(self, worker: str) -> None:
        for held in self.some(worker):
            self.say(worker, self.said(held))

    def retry(self, worker: str) -> None:
        at = self.now + timedelta(seconds=self.random.uniform(0, 200))
        self.ledger.retry(self.some(worker), at, owner=worker)

    def give_back(self, worker: str) -> None:
        self.ledger.give_back(self.some(worker), owner=worker)

    def pay_in_vain(self, worker: str) -> None:
        """One judge was paid and another did not answer: the job goes back, and what it cost is booked."""
        for one in self.some(worker):
            with self.store.read() as connection:
                held = connection.execute(
                    select(job.c.reserved_usd, job.c.reserved_day).where(job.c.pk == one.pk)
                ).one()
            usd = self.random.choice([0.0, 0.02, held.reserved_usd]) if held.reserved_day else 0.0
            with self.store.write() as connection:
                is_ours = failed_attempts.book_costs(connection, [FailedAttemptCost(one, usd, {})], worker, NIGHT)
            if is_ours:
                name = next(entry.key.name for entry in self.everyone() if entry.pk == one.scorer_pk)
                self.booked[held.reserved_day or NIGHT, name] += usd
            if self.random.random() < 0.5:
                self.ledger.retry([one], self.now + timedelta(seconds=self.random.uniform(0, 200)), owner=worker)
            else:
                self.ledger.give_back([one], owner=worker)

    def renew(self, worker: str) -> None:
        with self.store.write() as connection:
            leases.renew(connection, self.held[worker], worker, self.now, LEASE_S)

    def crash(self, worker: str) -> None:
        self.past += [(worker, job) for job in self.held[worker]]
        self.held[worker] = []

    def haunt(self, _: str) -> None:
        """A worker that was believed dead says what it has to say after all."""
        if not self.past:
            return
        worker, one = self.random.choice(self.past)
        act = self.random.choice([self.ledger.give_back, None, None])
        if act is not None:
            act([one], owner=worker)
        else:
            self.say(worker, self.said(one))

    def wait(self, _: str) -> None:
        self.now += timedelta(seconds=self.random.choice([1, 30, LEASE_S, 3600, 3 * 3600]))

    def come_late(self, _: str) -> None:
        self.take(self.random.choice(NIGHTS), 3)

    def reconcile(self, _: str) -> None:
        night = self.random.choice(NIGHTS)
        with self.store.write() as connection:
            draw_strata(connection, night, 0.0, 2, self.now)
            draws.add_samples(connection, night, self.now)
            lost = {entry.pk for entry in enrol.registered(connection)}
            handover.supersede(connection, night, self.scorers, self.now, lost)
            everyone = enrol.registered(connection, enrol.enrolled(connection, [night])[night])
            enrol.enqueue(connection, night, everyone, self.now)

    def raise_rate(self, _: str) -> None:
        self.rate = min(1.0, self.rate + 0.1)
        night = self.random.choice(NIGHTS)
        with self.store.write() as connection:
            draw_strata(connection, night, self.rate, 2, self.now)

    def backfill(self, _: str) -> None:
        """A person has a night scored again: by any version, a part of it or all, with what failed or without."""
        night, chosen = self.random.choice(NIGHTS), self.random.sample(self.everyone(), 2)
        rate = self.random.choice([None, self.random.uniform(0, 1)])
        with_failed = self.random.random() < 0.3
        with self.store.write() as connection:
            draws.lock_night(connection, night)
            standing = draws.current_draws(connection, night)
            limits = None if rate is None else {each: min(rate, row["threshold"]) for each, row in standing.items()}

            def left() -> int:
                return sum(
                    backfilling.missing(connection, night, one, limits, with_failed=with_failed).unscored
                    for one in chosen
                )

            planned = left()
            taken = backfilling.enrol_again(connection, night, chosen, self.now, limits, with_failed=with_failed)
            assert planned <= sum(taken), "what is told is queued; what lies beyond a rate is skipped at once"
            assert left() == 0, "repeating it queues nothing"
        self.backfilled += planned

    def change_judge(self, _: str) -> None:
        version = self.random.choice("123")
        if self.random.random() < 0.5:
            self.scorers[2] = self.ledger.register(judge(version=version, task_types=("refund",)))[0]
        else:
            self.scorers[3] = self.ledger.register(judge("tone", version))[0]

    def drain(self) -> None:
        """All is quiet: what is left is done by one worker without a cap."""
        self.now += timedelta(seconds=2 * LEASE_S)
        for night in NIGHTS:
            with self.store.write() as connection:
                draw_strata(connection, night, 0.0, 2, self.now)
                draws.add_samples(connection, night, self.now)
                looking = enrol.registered(connection, enrol.enrolled(connection, [night])[night])
                enrol.enqueue(connection, night, looking, self.now)
                everyone = enrol.registered(connection)
        for lane in ("heuristic", "judge"):
            mine = [job for job in everyone if job.lane == lane]
            for _ in range(100):
                jobs = self.ledger.claim(mine, now=self.now, limit=50, max_attempts=9).jobs
                with self.store.read() as connection:
                    left = backlog.lane_backlog(connection, self.now, lane)
                if not jobs and not left.due and not left.later:
                    break
                if not jobs:
                    self.now += timedelta(hours=1)
                self.ledger.settle([self.said(job) for job in jobs], now=self.now)


def check(connection: Connection, walk: Walk) -> None:
    check_jobs(connection, walk.scorers)
    check_books(connection, walk)
    check_caps(connection, has_own_cap=walk.has_own_cap)
    check_cuts(connection)


def check_jobs(connection: Connection, scorers: list[Registered]) -> None:
    for count in counts.night_counts(connection, NIGHTS[0], NIGHTS[1], scorers, NIGHTS[0]):
        assert count.reconciles, count
    doubled = (
        select(score.c.run_pk, score.c.scorer_pk, score.c.criterion)
        .group_by(score.c.run_pk, score.c.scorer_pk, score.c.criterion)
        .having(func.count() > 1)
    )
    assert connection.execute(doubled).all() == []
    loose = select(func.count()).where(job.c.state != "leased", job.c.lease_until.is_not(None))
    assert connection.execute(loose).scalar_one() == 0
    with_owner = select(job.c.state, job.c.reason).where(job.c.lease_owner.is_not(None)).distinct()
    assert {row.reason if row.state == "failed" else row.state for row in connection.execute(with_owner)} <= {
        "leased",
        "queued",
        "worker_lost",
    }


def check_books(connection: Connection, walk: Walk) -> None:
    held = {
        (day, which, pk): usd
        for day, which, pk, usd in connection.execute(
            select(job.c.reserved_day, job.c.account, job.c.scorer_pk, func.sum(job.c.reserved_usd))
            .where(job.c.reserved_day.is_not(None), IS_HELD)
            .group_by(job.c.reserved_day, job.c.account, job.c.scorer_pk)
        )
    }
    booked: defaultdict[tuple[date, str], float] = defaultdict(float)
    presumed = 0.0
    accounts = connection.execute(select(spend, scorer.c.name).outerjoin(scorer, scorer.c.pk == spend.c.scorer_pk))
    for account in accounts:
        there = held.get((account.day, account.account, account.scorer_pk), 0.0)
        assert account.reserved_usd == pytest.approx(there, abs=1e-9), "every dollar held is some job's"
        assert account.spent_usd >= account.presumed_usd - 1e-9
        assert account.presumed_usd >= -1e-9
        booked[account.day, account.name] += account.spent_usd - account.presumed_usd
        presumed += account.presumed_usd
    assert presumed == pytest.approx(walk.lost_usd, abs=1e-9)
    for key in {*booked, *walk.booked}:
        assert booked[key] == pytest.approx(walk.booked[key], abs=1e-9), "every call is booked once, at its cost"


def check_caps(connection: Connection, *, has_own_cap: bool) -> None:
    """Nights keep to their caps whatever backfills spend, and those to theirs; a month's caps are for both together."""
    caps = {money.NIGHTLY: CAP_USD, money.BACKFILL: BACKFILL_CAP_USD if has_own_cap else CAP_USD}
    for day in connection.execute(select(spend.c.day).distinct()).scalars():
        for which, cap_usd in caps.items():
            account = money.day_balance(connection, day, which)
            assert account.spent_usd + account.reserved_usd <= cap_usd + 1e-9, which
        for (first, last), cap_of in (((day, day), "usd_per_day"), (money.month_of(day), "usd_per_month")):
            which_of = money.NIGHTLY if cap_of == "usd_per_day" else None
            for name, balance in money.balances_by_rubric(connection, first, last, which_of).items():
                usd = getattr(OWN[name], cap_of) if name in OWN else None
                assert usd is None or balance.spent_usd + balance.reserved_usd <= usd + 1e-9, (name, cap_of)


def check_cuts(connection: Connection) -> None:
    """What a cut left is a smaller sample: nothing below it was shed for want of money, and nothing else was."""
    statement = (
        select(run.c.sample_key, cut.c.threshold)
        .select_from(job)
        .join(run, run.c.pk == job.c.run_pk)
        .join(
            draw,
            (draw.c.night == run.c.night)
            & (draw.c.task_type == run.c.task_type)
            & (draw.c.flagged == run.c.flagged)
            & draw.c.is_current,
        )
        .outerjoin(cut, (cut.c.draw_pk == draw.c.pk) & (cut.c.scorer_pk == job.c.scorer_pk))
        .where(job.c.state == "shed", job.c.reason == "budget")
    )
    for key, threshold in connection.execute(statement):
        assert threshold is not None
        assert key >= threshold - 1e-12


def test_whatever_workers_do_every_job_ends_once_and_the_books_balance_at_every_step(store: Store) -> None:
    walk = Walk(store, seed=1)
    for _ in range(1_000 if store.dialect == "sqlite" else 300):
        walk.step()
        with store.read() as connection:
            check(connection, walk)
    assert walk.came_late > 0, "late results were among them"
    assert walk.backfilled > 0, "and nights that were scored again"
    walk.drain()
    with store.read() as connection:
        for count in counts.night_counts(connection, NIGHTS[0], NIGHTS[1], walk.scorers, NIGHTS[0]):
            assert count.reconciles
            assert count.pending == 0
        first, last = runs.night_span(connection) or NIGHTS
        assert (first, last) == NIGHTS
    jobs = walk.ledger.jobs()
    assert {job.state for job in jobs} == FINAL, "the walk went everywhere"
    assert Counter((job.run_pk, job.scorer_pk) for job in jobs).most_common(1)[0][1] == 1
    with store.read() as connection:
        rows = connection.execute(
            select(score.c.run_pk, score.c.scorer_pk, score.c.outcome).where(score.c.criterion.is_(None))
        ).all()
    aggregates = {(run_pk, scorer_pk): said for run_pk, scorer_pk, said in rows}
    assert len(aggregates) == len(rows)
    assert aggregates == {(job.run_pk, job.scorer_pk): job.state for job in jobs if job.state in ("scored", "unscored")}
