"""Drawn nights scored by scorers that they were not drawn with, and what a budget left out of them."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from worker.errors import SettingsError
from worker.pipeline.activate import active_policy
from worker.pipeline.draw import plan_night
from worker.pipeline.scorer_names import chosen
from worker.project.project import Project
from worker.scorers.protocol import Scorer
from worker.settings.sections_sampling import SamplingSection
from worker.store.queue import backfill as ledger
from worker.store.queue import enrol
from worker.store.queue.backfill import Limits, TakenUp
from worker.store.queue.enrol import Registered
from worker.store.results import scores
from worker.store.runs import draws

_DUST = 1e-9
"""Rounding of a rate."""


class ScorerPlan(NamedTuple):
    """What a backfill is to do with one scorer."""

    scorer: Registered
    nights: Sequence[date]
    """Drawn nights on which it has something left to score, or an open job; oldest first."""
    runs: int
    """Drawn runs that it has not scored, and that will be queued."""
    queued: int
    """Its jobs that are open already."""
    unpaid: int
    """Of those, the ones of backfills: who goes on with a backfill pays for them too."""
    about_usd: float | None = None
    """What the runs and the unpaid jobs cost by what its scores cost so far, US dollars; None when none was paid."""
    most_usd: float | None = None
    """What they cost when every answer is the dearest, US dollars; None when the price of a judge is unknown."""


class BackfillPlan(NamedTuple):
    """What a backfill is to do."""

    parts: Sequence[ScorerPlan]
    """One for each scorer; empty where nothing is left to score."""
    nights: Sequence[date]
    """The drawn nights that were asked for, oldest first."""
    undrawn: Sequence[date]
    """Nights with runs among them that are over and not drawn; they are left alone."""
    rate: float | None
    with_failed: bool

    @property
    def runs(self) -> int:
        """Scores that will be queued."""
        return sum(part.runs for part in self.parts)

    @property
    def queued(self) -> int:
        """Jobs that are open already."""
        return sum(part.queued for part in self.parts)

    @property
    def busy_nights(self) -> Sequence[date]:
        """Nights on which any scorer has something left to score, or an open job; oldest first."""
        return sorted({night for part in self.parts for night in part.nights})

    @property
    def about_usd(self) -> float | None:
        """Of all parts; None when it is unknown of one."""
        return _sum(part.about_usd for part in self.parts)

    @property
    def most_usd(self) -> float | None:
        """Of all parts; None when a price is unknown."""
        return _sum(part.most_usd for part in self.parts)


def plan(
    project: Project,
    since: date | None,
    until: date | None,
    names: Sequence[str] = (),
    *,
    rate: float | None = None,
    with_failed: bool = False,
) -> BackfillPlan:
    """What scoring drawn nights again would queue and cost; writes nothing.

    Args:
        project: Whose nights.
        since: First night; None for the first drawn one.
        until: Last night, included; None for the last drawn one.
        names: Scorers: NAME for the active version, NAME@VERSION, or a series id. None for all active rubrics, and
            for every scorer of which a budget skipped jobs.
        rate: Score only what a draw at this rate would have drawn, 0..1; None for all that is drawn.
        with_failed: Whether failed jobs are tried again.

    Raises:
        SettingsError: A scorer is unknown, or cannot be made here; or the rate is above what a night was drawn with.
    """
    active = project.scorers.active()
    stored_only = [row for row in active if row.pk >= 0]
    policy = active_policy(project).sampling
    with project.store.read() as connection:
        nights = draws.drawn_nights(connection, since, until)
        over = project.nights.last_over(project.settings.clock.now())
        undrawn = draws.undrawn_nights(connection, since, over if until is None else min(until, over))
        limits = {night: _limits(connection, policy, night, rate) for night in nights} if rate is not None else {}
        wanted = chosen(project, stored_only if nights else active, enrol.registered(connection), names)
        if not nights:
            return BackfillPlan([], nights, undrawn, rate, with_failed)
        if not names and any(row.is_judgeless for row in wanted):
            raise SettingsError("no judge is active: set SPOTCHECK_JUDGE_MODEL, and OPENAI_API_KEY or OPENAI_BASE_URL")
        doing: dict[int, tuple[Registered, Sequence[date]]] = {row.pk: (row, nights) for row in wanted}
        if not names:
            doing |= {row.pk: (row, days) for row, days in _shed(connection, active, nights) if row.pk not in doing}
        found = []
        for row, days in doing.values():
            left = {
                night: ledger.missing(connection, night, row, limits.get(night), with_failed=with_failed)
                for night in days
            }
            busy = [night for night in days if any(left[night])]
            if busy:
                found.append(ScorerPlan(row, busy, *(sum(each) for each in zip(*left.values(), strict=True))))
    if not names:
        found = _makeable(project, found)
    made = _made(project, [part.scorer for part in found])
    parts = [_priced(project, part, made[part.scorer.pk]) for part in found]
    return BackfillPlan(parts, nights, undrawn, rate, with_failed)


def carry_out(project: Project, planned: BackfillPlan, now: datetime) -> TakenUp:
    """Queue what was planned, as far as it is still missing; a transaction a night.

    Raises:
        SettingsError: A budget is set for backfills that cannot be kept.
    """
    made = _made(project, [part.scorer for part in planned.parts])
    project.prices.check(made.values(), is_backfill=True)
    total = TakenUp()
    for night in planned.busy_nights:
        scorers = [part.scorer for part in planned.parts if night in part.nights]
        total += backfill(project, [night], scorers, now, rate=planned.rate, with_failed=planned.with_failed)
    return total


def backfill(
    project: Project,
    nights: Sequence[date],
    scorers: Sequence[Registered],
    now: datetime,
    *,
    rate: float | None = None,
    with_failed: bool = False,
) -> TakenUp:
    """Enrol scorers for drawn nights, and queue what they have not scored of them; a transaction a night.

    Repeating it, also after a process that was killed, queues only what is still missing.

    Args:
        project: Whose nights; its lanes say how judges are asked.
        nights: Those that are not drawn are left alone.
        scorers: As they are stored.
        now: The time.
        rate: As in `plan`.
        with_failed: As in `plan`.

    Raises:
        SettingsError: The rate is above what a night was drawn with.
    """
    with project.store.read() as connection:
        drawn = draws.drawn_subset(connection, nights)
    policy = active_policy(project).sampling
    batched = project.lanes.batched(scorers, is_backfill=True)
    at_once = [row.pk for row in scorers if row.key.kind == "judge" and row.pk not in batched]
    total = TakenUp()
    for night in sorted(drawn):
        with project.store.write() as connection:
            draws.lock_night(connection, night)
            limits = None if rate is None else _limits(connection, policy, night, rate)
            total += ledger.enrol_again(connection, night, scorers, now, limits, with_failed=with_failed)
            if project.settings.is_judge_configured:
                ledger.send_to_lane(connection, night, batched, "batch")
                ledger.send_to_lane(connection, night, at_once, "judge")
    return total


def chosen_scorers(
    project: Project, active: Sequence[Registered], names: Sequence[str]
) -> list[tuple[Registered, Scorer]]:
    """The scorers of these names, as in `plan`; all active ones without any.

    Raises:
        SettingsError: A name is unknown, or a scorer cannot be made here.
    """
    with project.store.read() as connection:
        rows = chosen(project, active, enrol.registered(connection), names) if names else list(active)
    made = _made(project, rows)
    return [(row, made[row.pk]) for row in rows]


def _limits(connection: Connection, policy: SamplingSection, night: date, rate: float) -> Limits:
    """By stratum, the key below which a draw at this rate would have drawn; never above what was drawn.

    Flagged runs keep their own rate and small strata their floor, as in any draw.

    Raises:
        SettingsError: The rate is above what the night was drawn with.
    """
    standing = draws.current_draws(connection, night)
    drawn_at = max((row["rate"] for stratum, row in standing.items() if not stratum.flagged), default=1.0)
    if rate > drawn_at + _DUST:
        raise SettingsError(
            f"--rate {rate:g} is above the {drawn_at:g} that night {night} was drawn at; draw more of it first: "
            f"spotcheck sample --since {night} --until {night} --rate {rate:g}"
        )
    wanted = {each.stratum: each.inclusion_probability for each, _ in plan_night(policy, connection, night, rate)}
    return {stratum: min(row["threshold"], wanted.get(stratum, rate)) for stratum, row in standing.items()}


def _shed(
    connection: Connection, active: Sequence[Registered], nights: Sequence[date]
) -> list[tuple[Registered, Sequence[date]]]:
    """Scorers of which a budget skipped jobs on these nights; of names that are still active, else nobody does them."""
    names = {row.key.name for row in active}
    shed = ledger.shed_by_budget(connection, nights)
    return [(row, shed[row.pk]) for row in enrol.registered(connection, sorted(shed)) if row.key.name in names]


def _makeable(project: Project, parts: Sequence[ScorerPlan]) -> list[ScorerPlan]:
    """Those whose scorer can be made here; of the others one line is told, and their jobs stay skipped."""
    _, unavailable = project.stored.make([part.scorer for part in parts])
    lost = {one.scorer.pk for one in unavailable}
    project.scorers.tell(f"{one.scorer.key.name} {one.scorer.key.series} is left out: {one.why}" for one in unavailable)
    return [part for part in parts if part.scorer.pk not in lost]


def _made(project: Project, rows: Sequence[Registered]) -> dict[int, Scorer]:
    """The scorers of rows.

    Raises:
        SettingsError: One cannot be made here.
    """
    made, unavailable = project.stored.make(rows)
    for one in unavailable:
        raise SettingsError(f"{one.scorer.key.name} {one.scorer.key.series} cannot score here: {one.why}")
    return {row.pk: scorer for row, scorer in made}


def _priced(project: Project, part: ScorerPlan, scorer: Scorer) -> ScorerPlan:
    """The part with what its scores cost."""
    row, count = part.scorer, part.runs + part.unpaid
    if row.key.kind != "judge" or not count:
        return part._replace(about_usd=0.0, most_usd=0.0)
    tiers = project.settings.judge.tier_prices
    is_batched = project.lanes.is_batched(scorer, is_backfill=True)
    with project.store.read() as connection:
        mean = scores.mean_cost(connection, row.pk, tiers)
    most = project.prices.most_usd(scorer, is_batched=is_batched)
    about = None if mean is None else count * mean * (tiers["batch"] if is_batched else 1.0)
    return part._replace(about_usd=about, most_usd=None if most is None else count * most)


def _sum(amounts: Iterable[float | None]) -> float | None:
    known = list(amounts)
    return None if None in known else sum(usd for usd in known if usd is not None)


def left_alone(
    project: Project, nights: Sequence[date], *, with_older: bool = False
) -> Sequence[tuple[Registered, Sequence[date], str]]:
    """What a draw of these nights does not touch and a backfill would score.

    Those are active rubrics that do not score a drawn night, and scorers of which a budget skipped jobs.

    Args:
        project: Whose nights.
        nights: Those that are not drawn are none of them.
        with_older: Whether what is found on any of them is told with all drawn nights it is true of.

    Returns:
        Scorer, nights (oldest first), and `new` or `budget`; empty where every night has all its scores.
    """
    active = project.scorers.active()
    with project.store.read() as connection:
        found = _left_alone(connection, active, sorted(draws.drawn_subset(connection, nights)))
        if not found or not with_older:
            return found
        told = {(row.pk, why) for row, _, why in found}
        everywhere = _left_alone(connection, active, draws.drawn_nights(connection))
    return [each for each in everywhere if (each[0].pk, each[2]) in told]


def _left_alone(
    connection: Connection, active: Sequence[Registered], drawn: Sequence[date]
) -> list[tuple[Registered, Sequence[date], str]]:
    rubrics = [row for row in active if row.key.kind == "judge" and not row.is_judgeless]
    without = ledger.never_enrolled(connection, drawn, rubrics)
    new = [(row, without[row.pk], "new") for row in rubrics if row.pk in without]
    return new + [(row, days, "budget") for row, days in _shed(connection, active, drawn)]
