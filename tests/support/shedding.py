"""Nights whose money ends somewhere, through the real ledger: what was scored stays a sample of known probability.

Runs differ in all that could select them: long runs cost more, take longer and fail more often, late ones are worse.
Workers claim a few at a time, end in any order, long calls last, hang up, die, and come back late. Estimated is each
night's mean score, by inverse probability with the thresholds that the ledger noted.

What a cut leaves is not unbiased to the last digit: whose cost ends the money is a dear run rather than a cheap one, so
the mean is off by cov(cost, score) / (mean cost x runs scored), which `tests/core/test_shedding.py` measures.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import select, update

from tests.support.ledger import LEASE_S, NOW, Ledger, incoming, job, judge, outcome, run, score, small_run
from worker.records import Stratum
from worker.store.budget.accounts import RubricCap, SpendingLimits
from worker.store.engine import Store
from worker.store.queue import enrol, leases
from worker.store.queue.enrol import Registered
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled
from worker.store.results import cells
from worker.store.runs import draws
from worker.store.tables import CutRow, DrawRow, core

draw, cut = core(DrawRow), core(CutRow)
FIRST_NIGHT = date(2001, 1, 1)
MOST_USD = {"completion": 0.04, "tone": 0.02}
"""No judging costs more, whatever the run's length."""
FLOOR = 4
CENTRE = 0.8
"""Inverse probabilities weigh distances from here: no bias either way, and less noise."""


class Kind(NamedTuple):
    """The traffic of a stratum."""

    runs: int
    rate: float
    quality: float


KINDS = {
    Stratum("refund", False): Kind(60, 0.4, 0.95),
    Stratum("refund", True): Kind(10, 1.0, 0.55),
    Stratum("billing", False): Kind(32, 0.25, 0.85),
    Stratum("faq", False): Kind(9, 0.05, 1.0),
}


TASK_TYPES = ("", *sorted({stratum.task_type for stratum in KINDS}))


class Case(NamedTuple):
    """A made-up run."""

    stratum: Stratum
    cost_usd: float
    """Of judging it by completion; half for tone."""
    is_late: bool
    """It comes after the draw."""
    values: dict[str, float]
    """Score by rubric."""


def made_up(rng: np.random.Generator) -> list[Case]:
    """A night's runs: the longer and the later, the worse."""
    cases = []
    for stratum, kind in KINDS.items():
        for _ in range(rng.poisson(kind.runs)):
            length = float(np.clip(rng.lognormal(0.0, 0.6), 0.2, 4.0))
            arrives = rng.random()
            chance = np.clip(kind.quality - 0.2 * (length - 1.2) - 0.3 * (arrives - 0.5), 0.02, 0.98)
            values = {rubric: float(rng.random() < chance) for rubric in MOST_USD}
            cases.append(Case(stratum, MOST_USD["completion"] * length / 4, arrives > 0.85, values))
    return cases


class Night:
    """One night from its draw to its last job."""

    def __init__(
        self, ledger: Ledger, scorers: Sequence[Registered], night: date, rng: np.random.Generator, *, by_cost: bool
    ) -> None:
        self.ledger, self.scorers, self.night, self.rng, self.by_cost = ledger, scorers, night, rng, by_cost
        self.name = {scorer.pk: scorer.key.name for scorer in scorers}
        self.now = NOW
        self.cases = {f"{night}/{number}": case for number, case in enumerate(made_up(rng))}
        self.case_of: dict[int, Case] = {}
        self.held: dict[str, list[Job]] = {"a": [], "b": [], "c": []}
        self.lost: list[tuple[str, Job]] = []
        self.take(is_late=False)
        self.draw(1.0)
        full = sum(case.cost_usd * KINDS[case.stratum].rate for case in self.cases.values())
        caps = {"completion": rng.uniform(0.3, 1.2) * full, "tone": rng.uniform(0.3, 1.2) * full / 2}
        self.money = SpendingLimits(
            night,
            rng.uniform(0.4, 1.0) * 1.5 * full,
            {scorer.pk: MOST_USD[scorer.key.name] for scorer in scorers},
            rubrics={name: RubricCap(usd) for name, usd in caps.items() if rng.random() < 0.6},
        )

    def take(self, *, is_late: bool) -> None:
        self.ledger.take(
            [
                incoming(
                    small_run(run_id, night=self.night, task_type=case.stratum.task_type),
                    night=self.night,
                    flags=("errored",) if case.stratum.flagged else (),
                    key=self.rng.random(),
                )
                for run_id, case in self.cases.items()
                if case.is_late is is_late
            ]
        )

    def draw(self, factor: float) -> None:
        """Draw, or raise the rates by a factor; and queue."""
        rates = {stratum: min(1.0, kind.rate * factor) for stratum, kind in KINDS.items()}
        self.ledger.draw(self.scorers, night=self.night, rate=rates, floor=FLOOR)
        self.look_up()

    def raise_rates(self) -> None:
        """What the budget had shed is taken up again, as far as new money goes."""
        self.money = self.money._replace(cap_usd=1.5 * self.money.cap_usd)
        self.draw(1.5)

    def come_late(self) -> None:
        self.take(is_late=True)
        with self.ledger.store.write() as connection:
            draws.add_samples(connection, self.night, self.now)
            enrol.enqueue(connection, self.night, self.scorers, self.now)
        self.look_up()

    def look_up(self) -> None:
        with self.ledger.store.write() as connection:
            rows = connection.execute(select(run.c.pk, run.c.run_id).where(run.c.night == self.night)).all()
            self.case_of = {row.pk: self.cases[row.run_id] for row in rows}
            if self.by_cost:  # not what the ledger does: so that the checks below are seen to fail
                for pk, case in self.case_of.items():
                    connection.execute(update(job).where(job.c.run_pk == pk).values(u=case.cost_usd))

    def work(self) -> None:
        """Until nothing is open: three workers, in any order."""
        arrives_at = int(self.rng.integers(0, 25))
        step = 0
        while True:
            self.now += timedelta(seconds=1)
            if step == arrives_at:
                self.come_late()
            worker = str(self.rng.choice(list(self.held)))
            what = self.rng.random()
            if what < 0.25:
                got = self.claim(worker)
                if not (got or any(self.held.values())) and step > arrives_at and not self.is_open():
                    return
            elif what < 0.9:
                self.end_some(worker)
            elif what < 0.93:
                self.ledger.retry(self.gone(worker, 1), self.now + timedelta(seconds=5), owner=worker)
            elif what < 0.95:
                self.ledger.give_back(self.gone(worker, 2), owner=worker)
            elif what < 0.96:
                self.die(worker)
            elif self.lost and what > 0.98:
                owner, one = self.lost.pop()
                self.ledger.settle([self.said(one)], owner=owner, now=self.now)
            step += 1

    def claim(self, worker: str) -> bool:
        limit = int(self.rng.integers(1, 30))
        claim = self.ledger.claim(
            self.scorers, limit=limit, owner=worker, now=self.now, money=self.money, max_attempts=99
        )
        self.held[worker] += claim.jobs
        return bool(claim.jobs or claim.shed)

    def is_open(self) -> bool:
        with self.ledger.store.read() as connection:
            return cells.open_jobs(connection, self.night) > 0

    def end_some(self, worker: str) -> None:
        """Short calls end first."""
        mine = self.held[worker]
        ends = [job for job in mine if self.rng.exponential() > 12 * self.case_of[job.run_pk].cost_usd]
        self.held[worker] = [job for job in mine if job not in ends]
        if ends:
            self.ledger.settle([self.said(job) for job in ends], owner=worker, now=self.now)

    def gone(self, worker: str, most: int) -> list[Job]:
        mine = self.held[worker]
        chosen, self.held[worker] = mine[:most], mine[most:]
        return chosen

    def die(self, worker: str) -> None:
        """What it held comes back when its lease has run out; the others have renewed theirs by then."""
        self.lost += [(worker, job) for job in self.gone(worker, 99)]
        self.now += timedelta(seconds=LEASE_S + 1)
        with self.ledger.store.write() as connection:
            for other, jobs in self.held.items():
                leases.renew(connection, jobs, other, self.now, LEASE_S)

    def said(self, one: Job) -> Settled:
        case, rubric = self.case_of[one.run_pk], self.name[one.scorer_pk]
        return outcome(one, case.values[rubric], cost_usd=case.cost_usd * MOST_USD[rubric] / MOST_USD["completion"])

    def result(self) -> "Result":
        """Estimates minus truth, by rubric and task type; "" is all of them."""
        stratum = (
            (draw.c.night == run.c.night) & (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged)
        )
        columns = (score.c.run_pk, score.c.scorer_pk, run.c.sample_key, draw.c.threshold, cut.c.threshold)
        statement = (
            select(*columns)
            .select_from(score)
            .join(run, run.c.pk == score.c.run_pk)
            .join(draw, stratum & draw.c.is_current)
            .outerjoin(cut, (cut.c.draw_pk == draw.c.pk) & (cut.c.scorer_pk == score.c.scorer_pk))
            .where(score.c.night == self.night)
        )
        with self.ledger.store.read() as connection:
            rows = connection.execute(statement).all()
        inverse, in_order = {}, {}
        for rubric in MOST_USD:
            mine = [
                (self.case_of[pk], key, drawn, noted) for pk, who, key, drawn, noted in rows if self.name[who] == rubric
            ]
            for task_type in TASK_TYPES:
                everyone = [case for case in self.cases.values() if task_type in ("", case.stratum.task_type)]
                seen = [job for job in mine if task_type in ("", job[0].stratum.task_type)]
                truth = sum(case.values[rubric] for case in everyone) / len(everyone)
                total = sum(
                    (case.values[rubric] - CENTRE) / (noted or drawn)
                    for case, key, drawn, noted in seen
                    if key < (noted or drawn)
                )
                inverse[rubric, task_type] = CENTRE + total / len(everyone) - truth
                weights = [1 / drawn for _, _, drawn, _ in seen]
                values = [case.values[rubric] for case, *_ in seen]
                in_order[rubric, task_type] = float(np.average(values, weights=weights)) - truth if seen else 0.0
        return Result(inverse, in_order, len(rows))


class Result(NamedTuple):
    """A night's errors."""

    inverse: dict[tuple[str, str], float]
    """By inverse probability, with the thresholds noted."""
    in_order: dict[tuple[str, str], float]
    """Of a mean that only holds if the order of work has nothing to do with the runs."""
    scored: int


def simulate(store: Store, seed: int, nights: int, *, by_cost: bool = False) -> list[Result]:
    """So many nights; on each third one a person raises the rates and the cap when the money is gone."""
    ledger, rng = Ledger(store), np.random.default_rng(seed)
    scorers = ledger.register(judge("completion"), judge("tone"))
    results = []
    for number in range(nights):
        night = Night(ledger, scorers, FIRST_NIGHT + timedelta(days=number), rng, by_cost=by_cost)
        night.work()
        if number % 3 == 0 and not by_cost:
            night.raise_rates()
            night.work()
        results.append(night.result())
    return results


def z(errors: Sequence[float]) -> float:
    """The mean error in its own standard errors."""
    return float(np.mean(errors) / (np.std(errors) / np.sqrt(len(errors))))
