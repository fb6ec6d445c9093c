"""`spotcheck trends`: weekly lines with interval, n and coverage; as a table, JSON, CSV or a picture."""

import csv
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO

import typer

from worker.cli.context import now, project
from worker.cli.files import DISK_FULL, is_full, replacing
from worker.cli.options import Json, near
from worker.cli.output import columns, counted, inline, plain, say, show_json
from worker.cli.views import chart, trends_table
from worker.cli.views.trends_table import PartialWeek, TableNotes
from worker.core import calendar
from worker.core.stats.trend import DIMENSIONS
from worker.errors import ExportError, SettingsError
from worker.project.project import Project
from worker.records import TrendPoint
from worker.store.results import cells, counts, findings
from worker.store.results import trends as weekly_points
from worker.store.results.counts import MissingScoreReason
from worker.store.runs import runs

FIELDS = tuple(TrendPoint.model_fields)
_PNG = Path("trends.png")
_WEEK = 7
_NONE = "no trend yet: take runs in (spotcheck ingest), then score nights (spotcheck nightly --wait)"
_FORMULA = tuple("=+-@＝＋－＠")  # spreadsheets fold the wide ones


class TrendsRequest(NamedTuple):
    """Which points."""

    by: str
    scorer: str | None
    task_type: str | None
    weeks: int

    def oldest_week(self, newest: date) -> str:
        """The first week, by the newest night with runs."""
        return calendar.week_of(calendar.weeks_before(newest, self.weeks - 1))


def trends(
    by: Annotated[str, typer.Option("--by", help="task_type, agent or agent_version.")] = "task_type",
    scorer: Annotated[str | None, typer.Option("--scorer", help="Only this scorer.")] = None,
    task_type: Annotated[str | None, typer.Option("--task-type", help="Only this task type.")] = None,
    weeks: Annotated[int, typer.Option("--weeks", min=1, max=520, help="So many, up to the newest with runs.")] = 8,
    form: Annotated[str, typer.Option("--format", help="table, json, csv or png.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where a csv or png goes.")] = None,
    criteria: Annotated[
        bool, typer.Option("--criteria", help="A rubric's criteria too, not only its aggregate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Weekly means with their 95 % intervals, n, and coverage; the overall line is held at the reference mix.

    In CSV a name that a spreadsheet would take for a formula begins with '. A file is replaced whole or left as it was.

    Examples: spotcheck trends · spotcheck trends --scorer task_completion --weeks 12 · spotcheck trends --format png
    """
    form = "json" if as_json else form
    if by not in DIMENSIONS:
        raise SettingsError(f"--by {by!r} is not known; use {', '.join(DIMENSIONS)}")
    if form not in ("table", "json", "csv", "png"):
        raise SettingsError(f"--format {form!r} is not known; use table, json, csv or png")
    if output is not None and form not in ("csv", "png"):
        raise SettingsError(f"--output is for csv and png, not {form}; redirect the others with >")
    opened = project()
    asked = TrendsRequest(by, scorer, task_type, weeks)
    points = read(opened, **asked._asdict())
    why = _why(_standing(opened, asked).values()) if not points else None
    if not points and not why:
        _complain_of_names(opened, asked)
    if form == "json":
        show_json({"points": points})
        return
    if not criteria:
        points = [point for point in points if point["criterion"] is None]
    try:
        if points or form == "csv":
            _show(opened, points, form, output, asked)
        else:
            say(why or _NONE)
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
    opened: Project, points: Sequence[dict[str, Any]], form: str, output: Path | None, asked: TrendsRequest
) -> None:
    if form == "csv":
        _csv(points, output)
    elif form == "png":
        path = output or _PNG
        with replacing(path) as part:
            chart.draw(points, part, _so_far(opened, points))
        say(str(path))
    else:
        with opened.store.read() as connection:
            findings_open = len([one for one in findings.list_findings(connection) if one.state == "open"])
        first = set(opened.settings.scoring.rubrics)
        ordered = sorted(points, key=lambda point: point["scorer"] not in first)
        beside = TableNotes(
            opened.settings.schedule.time_zone,
            findings_open,
            _so_far(opened, points),
            {key: _why([one]) for key, one in _standing(opened, asked).items()},
        )
        for line in trends_table.lines(ordered, asked.by, columns(), beside):
            say(line)


def _so_far(opened: Project, points: Sequence[dict[str, Any]]) -> PartialWeek | None:
    """The newest week, where not all of its nights are summarised."""
    week = max(point["week"] for point in points)
    monday, sunday = calendar.nights_of_week(week)
    with opened.store.read() as connection:
        nights = cells.summarised_nights(connection, monday, sunday)
    return PartialWeek(week, nights, is_over=opened.nights.last_over(now()) >= sunday) if nights < _WEEK else None


def _standing(opened: Project, asked: TrendsRequest) -> dict[tuple[str, str], MissingScoreReason]:
    """What is open and unscored in the weeks asked for, by name and version of each scorer asked for."""
    with opened.store.read() as connection:
        span = runs.night_span(connection)
        if span is None:
            return {}
        since = calendar.nights_of_week(asked.oldest_week(span[1]))[0]
        found = counts.missing_score_reasons(connection, since=since, task_type=asked.task_type)
    return {key: one for key, one in found.items() if asked.scorer in (None, key[0])}


def _why(found: Collection[MissingScoreReason]) -> str:
    """Why there is no score, in words; empty when nothing is known.

    Example:
        >>> queued = MissingScoreReason({"judge": 23, "heuristic": 4}, {})
        >>> keyless = MissingScoreReason({}, {"no_judge_configured": 334})
        >>> _why([queued]), _why([keyless])
        ('23 jobs wait for a judge: spotcheck score --wait', '334 runs are unscored: no_judge_configured')
    """
    waiting: Counter[str] = Counter()
    unscored: Counter[str] = Counter()
    for one in found:
        waiting.update(one.waiting)
        unscored.update(one.unscored)
    for lane, whom in (("judge", "judge"), ("heuristic", "worker")):
        if count := waiting[lane]:
            return f"{counted(count, 'job')} wait{'s' if count == 1 else ''} for a {whom}: spotcheck score --wait"
    if not unscored:
        return ""
    total = sum(unscored.values())
    reasons = [reason if len(unscored) == 1 else f"{reason} {count:,}" for reason, count in unscored.most_common()]
    return f"{counted(total, 'run')} {'is' if total == 1 else 'are'} unscored: {inline(', '.join(reasons))}"


def _complain_of_names(opened: Project, asked: TrendsRequest) -> None:
    """A name that has no points because it is mistyped.

    Raises:
        SettingsError: Says what was probably meant.
    """
    everything = read(opened, **asked._replace(scorer=None, task_type=None)._asdict())
    for option, field, name in (
        ("--scorer", "scorer", asked.scorer),
        ("--task-type", "task_type", asked.task_type),
    ):
        known = {point[field] for point in everything if point[field] is not None}
        if name is not None and known and name not in known:
            raise SettingsError(f"{option} {name!r} has no scores in these weeks{near(name, known)}")


def read(opened: Project, *, by: str, scorer: str | None, task_type: str | None, weeks: int) -> list[dict[str, Any]]:
    """Stored points as `--json` shows them, ending with the newest week that has runs."""
    with opened.store.read() as connection:
        span = runs.night_span(connection)
        if span is None:
            return []
        oldest = TrendsRequest(by, scorer, task_type, weeks).oldest_week(span[1])
        rows = weekly_points.points(
            connection, dimension=by, scorer_name=scorer, task_type=task_type, since_week=oldest
        )
    found = []
    for row in rows:
        stored = {field: row[field] for field in FIELDS if field != "coverage"}
        coverage = row["scored"] / row["sampled"] if row["sampled"] else None
        found.append(TrendPoint(**stored, coverage=coverage).model_dump())
    return found


def _csv(points: Sequence[dict[str, Any]], output: Path | None) -> None:
    if output is None:
        _write_csv(points, sys.stdout)
        return
    with replacing(output) as part, part.open("w", newline="", encoding="utf-8") as stream:
        _write_csv(points, stream)


def _write_csv(points: Sequence[dict[str, Any]], stream: TextIO) -> None:
    writer = csv.DictWriter(stream, FIELDS)
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
