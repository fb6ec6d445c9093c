"""The reconciliation: for each night and scorer, what became of every ended run.

The terms are counted independently in runs, samples, jobs and scores, so they add up only if nothing was lost.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from worker.records import RunFilter, Stratum
from worker.store.queue.enrol import Registered, enrolled, registered
from worker.store.tables import DrawRow, JobRow, NightRow, RunRow, SampleRow, ScoreRow, ScorerRow, core

run, draw, sample, job, score, scorer, night_table = (
    core(row) for row in (RunRow, DrawRow, SampleRow, JobRow, ScoreRow, ScorerRow, NightRow)
)


class FilterFacts(NamedTuple):
    """The facts of a run that a scorer's filter decides by."""

    task_type: str
    status: str
    agent: str


StrataFacts = Mapping[tuple[date, Stratum], Mapping[FilterFacts, int]]
"""Ended runs by night and stratum, and by the facts of their filters."""


class NightCounts(NamedTuple):
    """The counts of one night and scorer; `ended` is the sum of the fields after it."""

    scorer: str
    scorer_version: str
    night: date
    ended: int
    filtered: int
    before_start: int
    sampled_out: int
    scored: int
    unscored: int
    failed: int
    shed: int
    pending: int

    @property
    def reconciles(self) -> bool:
        """Whether every ended run is accounted for, and no term is negative."""
        terms = self[4:]
        return min(terms) >= 0 and sum(terms) == self.ended


def night_counts(
    connection: Connection,
    since: date,
    until: date,
    current: Sequence[Registered],
    start: date | None,
    task_type: str | None = None,
) -> list[NightCounts]:
    """The counts of each night that has runs, for each scorer enrolled for it; oldest night first.

    Args:
        connection: A read transaction.
        since: First night.
        until: Last night, included.
        current: The active scorers; they will score the nights that are not drawn yet.
        start: The project's first night; None before its first tick. Earlier nights that were never drawn are
            `before_start`.
        task_type: Only runs of this one; None for all.
    """
    strata = _by_stratum(connection, since, until)
    ended = _by_night(strata)
    drawn = set(
        connection.execute(
            select(night_table.c.night).where(
                night_table.c.night.between(since, until), night_table.c.drawn_at.is_not(None)
            )
        ).scalars()
    )
    sampled, late = _sampled(connection, since, until), _late(connection, since, until, strata)
    if task_type is not None:
        ended, sampled, late = (_only(each, task_type) for each in (ended, sampled, late))
    jobs, scores = _jobs(connection, since, until, task_type), _scores(connection, since, until, task_type)
    enrolled_pks = enrolled(connection, sorted(drawn))
    by_pk = {entry.pk: entry for entry in registered(connection)}
    result = []
    for night in sorted(ended):
        for entry in [by_pk[pk] for pk in enrolled_pks[night]] if night in drawn else current:
            admitted = _admitted(ended[night], entry.applies_to)
            total = sum(ended[night].values())
            if night not in drawn:
                is_before = start is None or night < start
                parts = (
                    [total - admitted, admitted, 0, 0, 0, 0, 0, 0]
                    if is_before
                    else [total - admitted, *[0] * 6, admitted]
                )
            else:
                in_sample = _admitted(sampled.get(night, {}), entry.applies_to)
                undecided = _admitted(late.get(night, {}), entry.applies_to)
                states = jobs.get((night, entry.pk), {})
                with_score, without = scores.get((night, entry.pk), (0, 0))
                pending = (
                    undecided + in_sample - sum(states.values()) + states.get("queued", 0) + states.get("leased", 0)
                )
                parts = [total - admitted, 0, admitted - in_sample - undecided, with_score, without]
                parts += [states.get("failed", 0), states.get("shed", 0), pending]
            result.append(NightCounts(entry.key.name, entry.key.series, night, total, *parts))
    return result


class MissingScoreReason(NamedTuple):
    """Why a scorer has no score to show for some runs."""

    waiting: dict[str, int]
    """Open jobs by lane."""
    unscored: dict[str, int]
    """Runs without a value, by reason."""
    shed: dict[str, int]
    """Runs that nobody was asked about, by reason, for example `budget`."""


def missing_score_reasons(
    connection: Connection, *, since: date, task_type: str | None
) -> dict[tuple[str, str], MissingScoreReason]:
    """Open jobs, unscored and skipped runs of every scorer, by (name, series); a scorer without any is absent.

    Args:
        connection: A read transaction.
        since: First night.
        task_type: Only this one; None for all.
    """
    result: dict[tuple[str, str], MissingScoreReason] = defaultdict(lambda: MissingScoreReason({}, {}, {}))
    by = (scorer.c.name, scorer.c.series)
    open_jobs = (
        select(*by, job.c.lane, func.count())
        .join(scorer, scorer.c.pk == job.c.scorer_pk)
        .where(job.c.night >= since, job.c.state.in_(("queued", "leased")))
        .group_by(*by, job.c.lane)
    )
    skipped_for = func.coalesce(job.c.reason, "unknown")
    skipped = (
        select(*by, skipped_for, func.count())
        .join(scorer, scorer.c.pk == job.c.scorer_pk)
        .where(job.c.night >= since, job.c.state == "shed", job.c.purpose == "production")
        .group_by(*by, skipped_for)
    )
    reason_or_unknown = func.coalesce(score.c.reason, "unknown")  # to PostgreSQL two of these are two expressions
    without = (
        select(*by, reason_or_unknown, func.count(score.c.run_pk.distinct()))
        .join(scorer, scorer.c.pk == score.c.scorer_pk)
        .where(
            score.c.night >= since,
            score.c.criterion.is_(None),
            score.c.purpose == "production",
            score.c.outcome == "unscored",
        )
        .group_by(*by, reason_or_unknown)
    )
    if task_type is not None:
        open_jobs = open_jobs.join(run, run.c.pk == job.c.run_pk).where(run.c.task_type == task_type)
        without = without.join(run, run.c.pk == score.c.run_pk).where(run.c.task_type == task_type)
        skipped = skipped.join(run, run.c.pk == job.c.run_pk).where(run.c.task_type == task_type)
    for name, series, lane, count in connection.execute(open_jobs):
        result[name, series].waiting[lane] = count
    for name, series, reason, count in connection.execute(without):
        result[name, series].unscored[reason] = count
    for name, series, reason, count in connection.execute(skipped):
        result[name, series].shed[reason] = count
    return dict(result)


def _admitted(by_facts: Mapping[FilterFacts, int], applies_to: RunFilter) -> int:
    return sum(count for facts, count in by_facts.items() if applies_to.admits(*facts))


def _only(by_night: dict[date, dict[FilterFacts, int]], task_type: str) -> dict[date, dict[FilterFacts, int]]:
    kept = {
        night: {facts: count for facts, count in by_facts.items() if facts.task_type == task_type}
        for night, by_facts in by_night.items()
    }
    return {night: by_facts for night, by_facts in kept.items() if by_facts}


def _by_stratum(connection: Connection, since: date, until: date) -> StrataFacts:
    """Ended runs by stratum and facts; one pass over run_by_facts."""
    facts = (run.c.night, run.c.task_type, run.c.flagged, run.c.status, run.c.agent)
    statement = select(*facts, func.count()).where(run.c.night.between(since, until)).group_by(*facts)
    found: dict[tuple[date, Stratum], dict[FilterFacts, int]] = defaultdict(dict)
    for night, task_type, flagged, status, agent, count in connection.execute(statement):
        found[night, Stratum(task_type, flagged)][FilterFacts(task_type, status, agent)] = count
    return found


def _by_night(strata: StrataFacts) -> dict[date, dict[FilterFacts, int]]:
    found: dict[date, dict[FilterFacts, int]] = defaultdict(lambda: defaultdict(int))
    for (night, _), by_facts in strata.items():
        for each, count in by_facts.items():
            found[night][each] += count
    return {night: dict(by_facts) for night, by_facts in found.items()}


def _sampled(connection: Connection, since: date, until: date) -> dict[date, dict[FilterFacts, int]]:
    facts = (sample.c.night, run.c.task_type, run.c.status, run.c.agent)
    statement = (
        select(*facts, func.count())
        .join(run, run.c.pk == sample.c.run_pk)
        .where(sample.c.night.between(since, until))
        .group_by(*facts)
    )
    return _nested(connection.execute(statement).all())


def _late(connection: Connection, since: date, until: date, strata: StrataFacts) -> dict[date, dict[FilterFacts, int]]:
    """Runs that came after their night was drawn and are not decided yet.

    Either their key is below the stored threshold but they are not in the sample, or their stratum has no draw. Two
    questions: the first reads only the drawn share of the runs (run_by_key), the second none; as one it read every run.
    """
    facts = (run.c.night, run.c.task_type, run.c.status, run.c.agent)
    stratum = (draw.c.night, draw.c.task_type, draw.c.flagged)
    below = (
        (run.c.night == draw.c.night)
        & (run.c.task_type == draw.c.task_type)
        & (run.c.flagged == draw.c.flagged)
        & (run.c.sample_key < draw.c.threshold)
    )
    current = (draw.c.night.between(since, until), draw.c.is_current)
    undecided = (
        select(*facts, func.count())
        .select_from(draw)
        .join(run, below)
        .outerjoin(sample, sample.c.run_pk == run.c.pk)
        .where(*current, sample.c.run_pk.is_(None))
        .group_by(*facts)
    )
    late: dict[date, dict[FilterFacts, int]] = defaultdict(lambda: defaultdict(int))
    for night, task_type, status, agent, count in connection.execute(undecided):
        late[night][FilterFacts(task_type, status, agent)] += count
    drawn_nights = select(night_table.c.night).where(
        night_table.c.night.between(since, until), night_table.c.drawn_at.is_not(None)
    )
    drawn = set(connection.execute(drawn_nights).scalars())
    rows = connection.execute(select(*stratum).where(*current))
    with_draw = {(night, Stratum(task_type, flagged)) for night, task_type, flagged in rows}
    for key, by_facts in strata.items():
        if key[0] in drawn and key not in with_draw:
            for each, count in by_facts.items():
                late[key[0]][each] += count
    return {night: dict(by_facts) for night, by_facts in late.items()}


def _nested(rows: Iterable[Any]) -> dict[date, dict[FilterFacts, int]]:
    by_night: dict[date, dict[FilterFacts, int]] = defaultdict(dict)
    for night, task_type, status, agent, count in rows:
        by_night[night][FilterFacts(task_type, status, agent)] = count
    return by_night


def _jobs(
    connection: Connection, since: date, until: date, task_type: str | None
) -> dict[tuple[date, int], dict[str, int]]:
    keys = (job.c.night, job.c.scorer_pk, job.c.state)
    statement = (
        select(*keys, func.count())
        .where(job.c.night.between(since, until), job.c.purpose == "production")
        .group_by(*keys)
    )
    if task_type is not None:
        statement = statement.join(run, run.c.pk == job.c.run_pk).where(run.c.task_type == task_type)
    by_key: dict[tuple[date, int], dict[str, int]] = defaultdict(dict)
    for night, scorer_pk, state, count in connection.execute(statement):
        by_key[night, scorer_pk][state] = count
    return by_key


def _scores(
    connection: Connection, since: date, until: date, task_type: str | None
) -> dict[tuple[date, int], tuple[int, int]]:
    """Runs with and without a value by night and scorer, counted in the score table."""
    keys = (score.c.night, score.c.scorer_pk)
    statement = (
        select(
            *keys,
            func.count(score.c.run_pk.distinct()).filter(score.c.outcome == "scored"),
            func.count(score.c.run_pk.distinct()).filter(score.c.outcome == "unscored"),
        )
        .where(score.c.night.between(since, until), score.c.criterion.is_(None), score.c.purpose == "production")
        .group_by(*keys)
    )
    if task_type is not None:
        statement = statement.join(run, run.c.pk == score.c.run_pk).where(run.c.task_type == task_type)
    return {(night, pk): (scored, unscored) for night, pk, scored, unscored in connection.execute(statement)}


class NightOutcome(NamedTuple):
    """What became of one scorer's jobs of a night."""

    scorer: str
    kind: str
    """`heuristic` or `judge`."""
    scored: int
    unscored: int
    failed: int
    open: int
    """Jobs that are queued or in work."""
    shed: Mapping[str, int]
    """Jobs that were skipped, by reason; empty where none were."""

    @property
    def asked(self) -> int:
        """Jobs that ended with or without a score."""
        return self.scored + self.unscored + self.failed


def night_outcomes(connection: Connection, nights: Sequence[date]) -> list[NightOutcome]:
    """What became of the jobs of some nights together, by scorer; judges first, then by name. Uses job_counts.

    Several versions of a scorer are one here. A scorer without jobs is absent.
    """
    reason = func.coalesce(job.c.reason, "unknown")
    by = (scorer.c.name, scorer.c.kind, job.c.state)
    within = (job.c.night.in_(list(nights)), job.c.purpose == "production")
    counted = select(*by, func.count()).join(scorer, scorer.c.pk == job.c.scorer_pk).where(*within).group_by(*by)
    skipped = (
        select(scorer.c.name, reason, func.count())
        .join(scorer, scorer.c.pk == job.c.scorer_pk)
        .where(*within, job.c.state == "shed")
        .group_by(scorer.c.name, reason)
    )
    states: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, kind, state, count in connection.execute(counted):
        states[kind, name][state] += count
    shed: dict[str, dict[str, int]] = defaultdict(dict)
    for name, why, count in connection.execute(skipped):
        shed[name][why] = count
    return [
        NightOutcome(
            name,
            kind,
            found["scored"],
            found["unscored"],
            found["failed"],
            found["queued"] + found["leased"],
            shed.get(name, {}),
        )
        for (kind, name), found in sorted(states.items(), key=lambda item: (item[0][0] != "judge", item[0][1]))
    ]


def unscored_reasons(connection: Connection, nights: Sequence[date]) -> dict[str, dict[str, int]]:
    """Runs of some nights without a score, by scorer and reason; a scorer without any is absent."""
    reason = func.coalesce(score.c.reason, "unknown")
    statement = (
        select(scorer.c.name, reason, func.count(score.c.run_pk.distinct()))
        .join(scorer, scorer.c.pk == score.c.scorer_pk)
        .where(
            score.c.night.in_(list(nights)),
            score.c.criterion.is_(None),
            score.c.purpose == "production",
            score.c.outcome == "unscored",
        )
        .group_by(scorer.c.name, reason)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, why, count in connection.execute(statement):
        found[name][why] = count
    return dict(found)
