"""`spotcheck trends`: weekly lines with interval, n and coverage; as a table, JSON, CSV or a picture."""

import csv
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli import chart, trends_table
from worker.cli.door import Json, columns, near, project, say, show_json
from worker.core import calendar
from worker.core.trend import DIMENSIONS
from worker.errors import SettingsError
from worker.flow.project import Project
from worker.records import TrendPoint
from worker.store import findings, runs, summary

FIELDS = tuple(TrendPoint.model_fields)


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
    points = read(opened, by=by, scorer=scorer, task_type=task_type, weeks=weeks)
    if not points:
        _complain_of_names(opened, by, weeks, scorer=scorer, task_type=task_type)
    if form == "json":
        show_json({"points": points})
        return
    if not criteria:
        points = [point for point in points if point["criterion"] is None]
    try:
        _show(opened, points, form, output, by)
    except BrokenPipeError:
        raise
    except OSError as error:
        if output is None or error.errno == errno.ENOSPC:
            raise
        raise SettingsError(f"--output {output} cannot be written: {error.strerror or error}") from None


def _show(opened: Project, points: Sequence[dict[str, Any]], form: str, output: Path | None, by: str) -> None:
    if form == "csv":
        _csv(points, output)
    elif not points:
        say("no trend yet: take runs in (spotcheck ingest), then score nights (spotcheck nightly --wait)")
    elif form == "png":
        path = output or Path("trends.png")
        chart.draw(points, path)
        say(str(path))
    else:
        with opened.store.read() as connection:
            findings_open = len([one for one in findings.listing(connection) if one.state == "open"])
        first = set(opened.settings.scoring.rubrics)
        ordered = sorted(points, key=lambda point: point["scorer"] not in first)
        for line in trends_table.lines(ordered, by, columns(), opened.settings.schedule.time_zone, findings_open):
            say(line)


def _complain_of_names(opened: Project, by: str, weeks: int, *, scorer: str | None, task_type: str | None) -> None:
    """A name that has no points because it is mistyped.

    Raises:
        SettingsError: Says what was probably meant.
    """
    everything = read(opened, by=by, scorer=None, task_type=None, weeks=weeks)
    for option, field, name in (("--scorer", "scorer", scorer), ("--task-type", "task_type", task_type)):
        known = {point[field] for point in everything if point[field] is not None}
        if name is not None and known and name not in known:
            raise SettingsError(f"{option} {name!r} has no scores in these weeks{near(name, known)}")


def read(opened: Project, *, by: str, scorer: str | None, task_type: str | None, weeks: int) -> list[dict[str, Any]]:
    """Stored points as `--json` shows them, ending with the newest week that has runs."""
    with opened.store.read() as connection:
        span = runs.span(connection)
        if span is None:
            return []
        oldest = calendar.week_of(calendar.back(span[1], weeks - 1))
        rows = summary.points(connection, dimension=by, scorer_name=scorer, task_type=task_type, since_week=oldest)
    found = []
    for row in rows:
        stored = {field: row[field] for field in FIELDS if field != "coverage"}
        coverage = row["scored"] / row["sampled"] if row["sampled"] else None
        found.append(TrendPoint(**stored, coverage=coverage).model_dump())
    return found


def _csv(points: Sequence[dict[str, Any]], output: Path | None) -> None:
    stream = sys.stdout if output is None else output.open("w", newline="", encoding="utf-8")
    try:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in point.items()} for point in points)
    finally:
        if output is not None:
            stream.close()


def _cell(value: object) -> object:
    """Names from outside never become a formula in a spreadsheet."""
    return "'" + value if isinstance(value, str) and value[:1] in "=+-@\t\r" else value
