"""`spotcheck trends`: weekly lines with interval, n and coverage; as a table, JSON, CSV or a picture."""

import csv
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from worker.cli.context import now, project
from worker.cli.files import DISK_FULL, is_full, replacing
from worker.cli.options import Json, Since, Until, near, window
from worker.cli.output import columns, counted, inline, note, plain, say, show_json
from worker.cli.views import chart, trends_table
from worker.cli.views.empty import meant, why_empty
from worker.cli.views.series import series_json
from worker.cli.views.trends_table import TableNotes
from worker.core.calendar import week_of
from worker.core.report.series import announcement
from worker.core.stats.trend import DIMENSIONS
from worker.errors import ExportError, SettingsError
from worker.project.project import Project
from worker.queries.empty import EmptyFilter
from worker.queries.empty import as_json as as_field
from worker.queries.findings import list_findings
from worker.queries.trends import (
    MissingScoreReason,
    TrendsRequest,
    empty_trend_filters,
    missing_scores,
    nights_of,
    partial_week,
    read_points,
    series_of,
    unknown_name,
)
from worker.queries.unsummarised import Unsummarised, unsummarised, unsummarised_json, unsummarised_note
from worker.records import TrendPoint

FIELDS = tuple(TrendPoint.model_fields)
_FORMS = ("table", "json", "csv", "png")
_PNG = Path("trends.png")
_MOST = 20
"""Names that a message lists."""
_NONE = "no trend yet: take runs in (spotcheck ingest), then score nights (spotcheck nightly --wait)"
_FORMULA = tuple("=+-@＝＋－＠")  # spreadsheets fold the wide ones


def trends(
    by: Annotated[str, typer.Option("--by", help="task_type, agent or agent_version.")] = "task_type",
    scorer: Annotated[str | None, typer.Option("--scorer", help="Only this scorer.")] = None,
    task_type: Annotated[
        list[str] | None, typer.Option("--task-type", help="Only this task type; may be repeated.")
    ] = None,
    weeks: Annotated[
        int | None, typer.Option("--weeks", min=1, max=520, help="So many, up to the newest with runs; else 8.")
    ] = None,
    since: Since = None,
    until: Until = None,
    by_day: Annotated[
        bool, typer.Option("--by-day", help="Single nights; the newest 14 unless you say which.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="table, json, csv or png.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where a csv or png goes.")] = None,
    criteria: Annotated[
        bool, typer.Option("--criteria", help="A rubric's criteria too, not only its aggregate.")
    ] = False,
    criterion: Annotated[str | None, typer.Option("--criterion", help="Only this criterion of a rubric.")] = None,
    as_json: Json = False,
) -> None:
    """Weekly means with their 95 % intervals, n, and coverage; the overall line is held at the reference mix.

    In CSV a name that a spreadsheet would take for a formula begins with '. A file is replaced whole or left as it was.

    Examples: spotcheck trends · spotcheck trends --scorer task_completion --weeks 12 · spotcheck trends --format png ·
    spotcheck trends --by-day --task-type refund
    """
    form = "json" if as_json else form
    _check_options(by, form, output, task_type or (), is_by_day=by_day)
    first, last = window(since, until)
    if weeks is not None and first is not None:
        raise SettingsError("give --weeks, or --since and --until, not both")
    opened = project()
    types = list(dict.fromkeys(task_type or ()))
    one_type = types[0] if len(types) == 1 else None
    request = TrendsRequest(by, scorer, one_type, weeks or (2 if by_day else 8), first, last, by_day)
    points = _chosen(opened, request, types, criterion, with_criteria=criteria)
    late = _late(opened, request)
    waits, empty = (unsummarised_note(late), ()) if points else _why_none(opened, request, late)
    if form == "json":
        changes = series_json(series_of(opened, request))
        show_json(
            {
                "points": [_told(point, request) for point in points],
                **changes,
                **as_field(empty),
                **unsummarised_json(late),
            }
        )
        return
    try:
        if points or form == "csv":
            _show(opened, points, form, output, request, waits)
        else:
            say(waits or _NONE)
    except BrokenPipeError:
        raise
    except OSError as error:
        output = output or (_PNG if form == "png" else None)
        if output is None:
            raise
        if is_full(error):
            raise ExportError(f"{output} cannot be written: {DISK_FULL}") from None
        raise SettingsError(f"--output {output} cannot be written: {error.strerror or error}") from None


def _show(
    opened: Project,
    points: Sequence[TrendPoint],
    form: str,
    output: Path | None,
    request: TrendsRequest,
    waits: str,
) -> None:
    fields = [_told(point, request) if form == "csv" else point.model_dump() for point in points]
    series = series_of(opened, request)
    changes = () if series is None else series.changes
    if form == "csv":
        _csv(fields, output, ("night", *FIELDS) if request.by_day else FIELDS)
        if output is not None:
            say(str(output))
        for change in changes:
            note(inline("".join(announcement(change))))
        if waits:
            note(waits)
    elif form == "png":
        path = output or _PNG
        with replacing(path) as part:
            chart.draw(
                fields,
                part,
                partial_week(opened, points, now()),
                changes,
                first=opened.settings.scoring.rubrics,
                findings=[finding for finding in list_findings(opened) if finding.kind == "agent"],
            )
        say(str(path))
        if waits:
            note(waits)
    else:
        first = set(opened.settings.scoring.rubrics)
        notes = TableNotes(
            opened.settings.schedule.time_zone,
            sum(1 for finding in list_findings(opened) if finding.state == "open"),
            None if request.by_day else partial_week(opened, points, now()),
            {key: _why([reason]) for key, reason in missing_scores(opened, request).items()},
            changes,
            waits,
            "night" if request.by_day else "week",
        )
        ordered = sorted(fields, key=lambda point: point["scorer"] not in first)
        for line in trends_table.lines(ordered, request.by, columns(), notes):
            say(line)


def _check_options(by: str, form: str, output: Path | None, task_types: Sequence[str], *, is_by_day: bool) -> None:
    """Refuse options that are unknown, or do not go together.

    Raises:
        SettingsError: Says what to give instead.
    """
    if by not in DIMENSIONS:
        raise SettingsError(f"--by {by!r} is not known; use {', '.join(DIMENSIONS)}{meant(by, DIMENSIONS)}")
    if form not in _FORMS:
        raise SettingsError(f"--format {form!r} is not known; use table, json, csv or png{meant(form, _FORMS)}")
    if output is not None and form not in ("csv", "png"):
        raise SettingsError(f"--output is for csv and png, not {form}; redirect the others with >")
    if is_by_day and form == "png":
        raise SettingsError("pictures show weeks; --by-day is for table, json and csv")
    if by != "task_type" and (is_by_day or len(set(task_types)) > 1) and task_types:
        raise SettingsError(f"--by {by} takes one --task-type, and none with --by-day")


def _chosen(
    opened: Project, request: TrendsRequest, types: Sequence[str], criterion: str | None, *, with_criteria: bool
) -> list[TrendPoint]:
    """The points of a request: of several task types, of a criterion, or without criteria.

    Raises:
        SettingsError: A name is mistyped.
    """
    points = read_points(opened, request)
    if len(types) > 1:
        for each in types:
            _check_names(opened, request._replace(task_type=each))
        points = [point for point in points if point.task_type in types]
    if criterion is None:
        return [point for point in points if with_criteria or point.criterion is None]
    known = sorted({point.criterion for point in points if point.criterion is not None})
    if points and criterion not in known:
        raise SettingsError(f"--criterion {criterion!r} has no scores{near(criterion, known)}")
    return [point for point in points if point.criterion == criterion]


def _told(point: TrendPoint, request: TrendsRequest) -> dict[str, Any]:
    """A point for machines; of a single night with the night beside its week."""
    fields = point.model_dump()
    if not request.by_day:
        return fields
    return {"night": point.week} | fields | {"week": week_of(date.fromisoformat(point.week))}


def _late(opened: Project, request: TrendsRequest) -> Sequence[Unsummarised]:
    """Nights of the request with scores that no point holds yet."""
    nights = nights_of(opened, request)
    return () if nights is None else unsummarised(opened, *nights)


def _why_none(
    opened: Project, request: TrendsRequest, late: Sequence[Unsummarised]
) -> tuple[str, Sequence[EmptyFilter]]:
    """Why a request has no point, in words, and the filters that are responsible.

    Raises:
        SettingsError: A name in it is mistyped.
    """
    said = unsummarised_note(late)
    if said and request.scorer is None and request.task_type is None:
        return said, ()
    if waits := _why(missing_scores(opened, request).values()):
        return waits, ()
    _check_names(opened, request)
    if said:
        return said, ()
    empty = empty_trend_filters(opened, request)
    return f"no trend matches{why_empty(empty)}" if empty else "", empty


def _why(reasons: Collection[MissingScoreReason]) -> str:
    """Why there is no score, in words; empty when nothing is known.

    Example:
        >>> queued = MissingScoreReason({"judge": 23, "heuristic": 4}, {}, {})
        >>> keyless = MissingScoreReason({}, {"no_judge_configured": 334}, {})
        >>> _why([queued]), _why([keyless])
        ('23 jobs wait for a judge: spotcheck score --wait', '334 runs are unscored: no_judge_configured')
        >>> _why([MissingScoreReason({}, {}, {"budget": 19})])
        '19 shed (budget)'
    """
    waiting: Counter[str] = Counter()
    unscored: Counter[str] = Counter()
    shed: Counter[str] = Counter()
    for reason in reasons:
        waiting.update(reason.waiting)
        unscored.update(reason.unscored)
        shed.update(reason.shed)
    for lane, whom in (("judge", "judge"), ("heuristic", "worker")):
        if count := waiting[lane]:
            return f"{counted(count, 'job')} wait{'s' if count == 1 else ''} for a {whom}: spotcheck score --wait"
    said = []
    if unscored:
        total = sum(unscored.values())
        parts = [reason if len(unscored) == 1 else f"{reason} {count:,}" for reason, count in unscored.most_common()]
        said.append(f"{counted(total, 'run')} {'is' if total == 1 else 'are'} unscored: {inline(', '.join(parts))}")
    said += [f"{count:,} shed ({inline(reason)})" for reason, count in shed.most_common()]
    return "; ".join(said)


def _check_names(opened: Project, request: TrendsRequest) -> None:
    """A name that is mistyped.

    Raises:
        SettingsError: Says what there is, and what was probably meant.
    """
    if unknown := unknown_name(opened, request):
        there = f"{unknown.noun} here: {inline(', '.join(unknown.there_are[:_MOST]))}"
        raise SettingsError(
            f"{unknown.option} {unknown.value!r} has no scores, {there}{meant(unknown.value, unknown.there_are)}"
        )


def _csv(points: Sequence[dict[str, Any]], output: Path | None, names: Sequence[str]) -> None:
    if output is None:
        _write_csv(points, sys.stdout, names)
        return
    with replacing(output) as part, part.open("w", newline="", encoding="utf-8") as stream:
        _write_csv(points, stream, names)


def _write_csv(points: Sequence[dict[str, Any]], stream: TextIO, names: Sequence[str]) -> None:
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in point.items()} for point in points)


def _cell(value: object) -> object:
    r"""Names from outside are no formula in a spreadsheet and no order in a terminal.

    Example:
        >>> _cell("=1+1"), _cell(" @x"), _cell("re\nfund"), _cell(0.5)
        ("'=1+1", "'@x", 're fund', 0.5)
    """
    if not isinstance(value, str):
        return value
    text = inline(plain(value))
    return "'" + text if text.startswith(_FORMULA) else text
