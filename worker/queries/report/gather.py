"""The weekly review, gathered from the store in one read transaction; it writes nothing and asks nobody."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from worker import __version__
from worker.core import calendar
from worker.core.drift.operational import OperationalFigure as Nightly
from worker.core.drift.sensitivity import DROP_NIGHTS as SENSITIVITY_NIGHTS
from worker.core.drift.thresholds import LEARN_NIGHTS
from worker.core.report.coverage import JudgedRuns
from worker.core.report.model import (
    GOOD_FROM,
    JudgeUsage,
    Report,
    SampleSummary,
    ScorerCounts,
    TaskTypeOutcome,
    Window,
)
from worker.core.report.nothing import what_there_is
from worker.core.report.operational import NightFigure, weekly_operations
from worker.core.report.reading import ReadingList
from worker.core.report.story import sentences
from worker.core.stats.contrast import NO_CONTRASTS, Contrasts, contrasts
from worker.core.stats.weekly import weekly
from worker.project.project import Project
from worker.queries.empty import EmptyFilter, RunFilters, empty_run_filters
from worker.queries.report.findings import changes_of, seen, sensitivity_of, untold
from worker.queries.report.reading import read_runs
from worker.queries.report.series import series_history
from worker.queries.report.streams import Scorers, streams_of
from worker.queries.unsummarised import unsummarised_note, unsummarised_within
from worker.records import Alert, Cell, Estimate
from worker.store.queue.enrol import Registered
from worker.store.results import alerts, counts
from worker.store.results import cells as summary
from worker.store.results import report as stored
from worker.store.runs import operational, runs

WEEKS_SHOWN, MOST_WEEKS = 8, 26
MOST_ALERTS = 20
MOST_FACTS = 20_000
"""Scored runs looked at for what the bad ones have in common; beyond it those with the smallest keys."""
FEWEST_RUNS = 50
"""With fewer runs an operational stream is not tested; as in `pipeline.operations.watch`."""


class ReportRequest(NamedTuple):
    """Which nights and runs a report is wanted of; None: the newest week that has runs, all task types."""

    since: date | None = None
    until: date | None = None
    task_type: str | None = None


def gather(project: Project, asked: ReportRequest, now: datetime) -> Report:
    """Everything a report shows, at one moment.

    Bounded: sums by night and stream, at most 20,000 runs' facts without their texts, and the texts of twenty runs, one
    at a time. An empty store, a store without scores and a night alone give a report like any other, which says so.

    Args:
        project: Whose runs.
        asked: Which.
        now: The time.
    """
    start = project.nights.start()
    rubrics = project.settings.scoring.rubrics
    with project.store.read() as connection:
        window = _window(connection, asked, project.nights.last_over(now))
        if window is None:
            return _empty(project, asked, now)
        current = project.scorers.active(connection)
        history = series_history(connection, calendar.nights_of_week(window.weeks[0])[0], window.until)
        scorers = Scorers(stored.scorer_names(connection), rubrics[0] if rubrics else None, history)
        known = stored.scored_spans(connection, window.until)
        changes = changes_of(connection, window, asked.task_type, scorers.names, history)
        told_now = _alerts(connection, window, asked.task_type)
        streams = streams_of(connection, window, asked.task_type, scorers, known, changes)
        tallies = _tallies(connection, window, current, start, scorers, asked.task_type)
        figures = _figures(connection, window, asked.task_type)
        could_have = sensitivity_of(
            connection, window, streams, changes, scorers.primary_pks, project.settings.alerts.false_alarms_per_year
        )
        common = _common(connection, window, asked.task_type, scorers)
        groups = _groups(connection, window, asked.task_type, scorers)
        reading = read_runs(
            connection,
            window,
            asked.task_type,
            scorers.primary,
            scorers.heuristics,
            scorers.primary_pk,
            history.over,
            is_redacted=project.settings.scoring.redact,
        )
        costs = stored.judging_costs(connection, window.since, window.until, asked.task_type)
        judged = tuple(JudgeUsage._make(row) for row in costs)
        late = unsummarised_note(unsummarised_within(project, connection, window.since, window.until))
    rows = weekly_operations(figures, window.weeks)
    primary_series = None if scorers.primary_pk is None else scorers.names[scorers.primary_pk][1]
    told = sentences(
        window,
        streams,
        changes,
        tallies.tallies,
        rows,
        primary=scorers.primary,
        primary_series=primary_series,
        taken_over=next((one for one in reversed(history.changes) if one.scorer == scorers.primary), None),
        figures=_tested_figures(figures),
        sensitivity=could_have,
        nights=SENSITIVITY_NIGHTS,
    )
    if late:
        told += ((f"{late}.",),)
    if not window.runs:
        told += what_there_is(
            asked.task_type, [(one.noun, one.there_are) for one in empty_report(project, asked, window)]
        )
    return Report(
        window=window,
        task_type=asked.task_type,
        series_changes=history.changes,
        primary_series=primary_series,
        sentences=told,
        primary=scorers.primary,
        streams=streams,
        changes=changes,
        alerts=told_now,
        groups=groups,
        operations=rows,
        common=common,
        reading=reading,
        sampled=tallies._replace(
            judged=judged,
            sensitivity=could_have,
            untold=untold(scorers.primary, streams, changes, could_have),
            false_alarms_per_year=project.settings.alerts.false_alarms_per_year,
        ),
        made_at=now,
        store=project.store.shown,
        time_zone=project.settings.schedule.time_zone,
        version=__version__,
    )


def empty_report(project: Project, asked: ReportRequest, window: Window) -> list[EmptyFilter]:
    """Why a report has no run; empty where it has some, or there are none at all."""
    return empty_run_filters(project, RunFilters(asked.task_type, since=window.since, until=window.until))


def _window(connection: Connection, asked: ReportRequest, last_over: date) -> Window | None:
    """The nights asked for, and how many of them are over; None for a store without runs."""
    span = runs.night_span(connection)
    if span is None:
        return None
    monday, sunday = calendar.nights_of_week(calendar.week_of(span[1]))
    if asked.since is None and asked.until is None:
        since, until = monday, sunday
    else:
        until = asked.until or max(span[1], asked.since or span[1])
        since = asked.since or min(until, max(span[0], until - timedelta(days=6)))
    week = calendar.week_of(until)
    is_week = calendar.nights_of_week(week) == (since, until)
    label = f"week {week}" if is_week else f"the nights {since} to {until}" if since < until else f"the night {since}"
    wanted = (calendar.nights_of_week(week)[0] - calendar.nights_of_week(calendar.week_of(since))[0]).days // 7 + 1
    shown = min(MOST_WEEKS, max(WEEKS_SHOWN, wanted))
    weeks = [calendar.week_of(calendar.weeks_before(until, back)) for back in range(shown)]
    rows = stored.status_counts(connection, since, until, asked.task_type)
    nights = len({row.night for row in rows})
    first = calendar.week_of(span[0])
    kept = tuple(earlier for earlier in reversed(weeks) if earlier >= first) or (week,)
    over = None if until <= last_over else max(0, (last_over - since).days + 1)
    return Window(since, until, label, kept, nights, sum(row.runs for row in rows), over)


def _empty(project: Project, asked: ReportRequest, now: datetime) -> Report:
    """The report of a store without runs."""
    allowed = project.settings.alerts.false_alarms_per_year
    return Report(
        window=None,
        task_type=asked.task_type,
        series_changes=(),
        primary_series=None,
        sentences=sentences(None, (), (), (), primary=None, figures=0, sensitivity=(), nights=0),
        primary=None,
        streams=(),
        changes=(),
        alerts=(),
        groups=(),
        operations=(),
        common=NO_CONTRASTS,
        reading=ReadingList((), (), None),
        sampled=SampleSummary((), True, (), (), (), SENSITIVITY_NIGHTS, allowed),
        made_at=now,
        store=project.store.shown,
        time_zone=project.settings.schedule.time_zone,
        version=__version__,
    )


def _tallies(
    connection: Connection,
    window: Window,
    current: Sequence[Registered],
    start: date | None,
    scorers: Scorers,
    task_type: str | None,
) -> SampleSummary:
    """The counts of the window by scorer, and why there is no score where there is none; of one task type or all."""
    rows = counts.night_counts(connection, window.since, window.until, current, start, task_type)
    terms = counts.NightCounts._fields[3:]
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * len(terms))
    for row in rows:
        of_series = sums[row.scorer, row.scorer_version]
        for place, term in enumerate(terms):
            of_series[place] += getattr(row, term)
    why: dict[tuple[str, str], list[tuple[str, str, int]]] = defaultdict(list)
    for pk, state, reason, count in stored.missing_reasons(connection, window.since, window.until, task_type):
        name, series, _ = scorers.names[pk]
        why[name, series].append((state, reason, count))
    tallies = [
        ScorerCounts._make((name, series, scorers.is_rubric(name), *of_series, tuple(why[name, series])))
        for (name, series), of_series in sums.items()
    ]
    tallies.sort(key=lambda tally: (not tally.is_rubric, tally.scorer != scorers.primary, tally.scorer, tally.series))
    return SampleSummary(
        tuple(tallies),
        all(row.reconciles for row in rows),
        (),
        (),
        (),
        SENSITIVITY_NIGHTS,
        0.0,
        _judged(connection, window, [row for row in rows if row.scorer == scorers.primary], scorers, task_type),
    )


def _judged(
    connection: Connection,
    window: Window,
    rows: Sequence[counts.NightCounts],
    scorers: Scorers,
    task_type: str | None,
) -> JudgedRuns:
    """The sampled runs of the window and how many have a score of the primary rubric, whichever series it is of.

    A night that several series score, as in a backfill, has one sample.
    """
    drawn: dict[date, int] = defaultdict(int)
    by: dict[str, int] = defaultdict(int)
    for row in rows:
        of_series = row.scored + row.unscored + row.failed + row.shed + row.pending
        drawn[row.night] = max(drawn[row.night], of_series)
        if of_series:
            by[row.scorer_version] += row.scored
    series = {name: pk for pk, (scorer, name, _) in scorers.names.items() if scorer == scorers.primary}
    ordered = sorted(by.items(), key=lambda item: series.get(item[0], 0))
    judged = sum(by.values())
    if len(by) > 1:
        judged = stored.judged_runs(connection, window.since, window.until, list(series.values()), task_type)
    return JudgedRuns(judged, sum(drawn.values()), tuple(ordered))


def _alerts(connection: Connection, window: Window, task_type: str | None) -> tuple[Alert, ...]:
    """Alerts of the window that are no findings: those are told with what explains them."""
    found = alerts.list_alerts(connection, everything=True, since=window.since)
    own = [
        alert
        for alert in found
        if alert.kind != "drift" and alert.night <= window.until and task_type in (None, alert.task_type)
    ]
    return tuple(own[:MOST_ALERTS])


def _figures(connection: Connection, window: Window, task_type: str | None) -> list[NightFigure]:
    """Operational figures of the weeks shown, and of the window where it begins before them."""
    since = min(window.since, calendar.nights_of_week(window.weeks[0])[0])
    return [
        NightFigure(
            calendar.week_of(figure.night),
            window.since <= figure.night <= window.until,
            Nightly._make(
                (
                    figure.task_type,
                    figure.measure,
                    figure.subject,
                    figure.n,
                    figure.s,
                    figure.ss,
                    figure.total,
                    figure.histogram,
                )
            ),
        )
        for figure in operational.night_figures(connection, since, window.until)
        if task_type in (None, figure.task_type)
    ]


def _tested_figures(figures: Sequence[NightFigure]) -> int:
    """How many of their streams have been looked at: enough runs, over enough nights."""
    seen_in: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for _, _, figure in figures:
        own = seen_in[figure.task_type, figure.measure, figure.subject]
        own[0] += 1
        own[1] += figure.n
    return sum(nights > LEARN_NIGHTS and n >= FEWEST_RUNS for nights, n in seen_in.values())


def _common(connection: Connection, window: Window, task_type: str | None, scorers: Scorers) -> Contrasts:
    """What sets bad runs of the window apart, by the primary rubric."""
    if not scorers.primary_pks:
        return NO_CONTRASTS
    rows = stored.scored_facts(connection, window.since, window.until, scorers.primary_pks, task_type, limit=MOST_FACTS)
    return contrasts(seen(row, is_bad=row.figure is not None and row.figure < GOOD_FROM) for row in rows)


_STATUSES = ("completed", "aborted", "errored", "incomplete")


def _groups(
    connection: Connection, window: Window, task_type: str | None, scorers: Scorers
) -> tuple[TaskTypeOutcome, ...]:
    """How runs came out, by task type; the good ones estimated from the sample with its weights."""
    statuses: dict[str | None, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in stored.status_counts(connection, window.since, window.until, task_type):
        statuses[row.task_type][row.status] += row.runs
        statuses[None][row.status] += row.runs
    cells = _cells(connection, window, task_type, scorers)
    tasks = sorted(
        (task for task in statuses if task is not None), key=lambda task: (-sum(statuses[task].values()), task)
    )
    wanted: list[str | None] = [None, *tasks] if len(tasks) > 1 else [*tasks]
    return tuple(
        TaskTypeOutcome._make((task, *(statuses[task].get(status, 0) for status in _STATUSES), _good(cells, task)))
        for task in wanted
    )


def _good(cells: Collection[Cell], task_type: str | None) -> Estimate:
    return weekly(cell for cell in cells if task_type in (None, cell.task_type))


def _cells(connection: Connection, window: Window, task_type: str | None, scorers: Scorers) -> list[Cell]:
    """Completed runs by night and stratum: all, those scored, and those of them that are good.

    By one series of the primary rubric, and of its own nights, those that it scored in a backfill included, as in its
    trend: what an earlier one called good is another question.
    """
    scored: dict[tuple[date, str, bool], tuple[int, int]] = {}
    for row in stored.good_runs(connection, window.since, window.until, scorers.primary_pks, GOOD_FROM):
        scored[row.night, row.task_type, bool(row.flagged)] = (row.scored, row.good)
    found = []
    for row in stored.completed_runs(connection, window.since, window.until, task_type):
        if scorers.is_measured(row.night):
            stratum = row.task_type, bool(row.flagged)
            n, good = scored.get((row.night, *stratum), (0, 0))
            found.append(Cell(row.night, *stratum, "", "", row.runs, n, n, float(good), float(good)))
    return found


def unknown_task_type(project: Project, task_type: str) -> set[str]:
    """The task types that there are, where no run has this one; empty where one has it, or there are no runs.

    A type of the newest or of a summarised night is found at once; any other costs about 0.1 s for a million runs.
    """
    with project.store.read() as connection:
        span = runs.night_span(connection)
        if span is None:
            return set()
        newest = {row.task_type for row in stored.status_counts(connection, span[1], span[1], None)}
        if task_type in newest or task_type in summary.first_nights(connection):
            return set()
        known = runs.task_types(connection)
    return set() if task_type in known else known
