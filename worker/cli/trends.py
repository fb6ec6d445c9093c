"""`spotcheck trends`: weekly lines with interval, n and coverage; as a table, JSON, CSV or a picture."""

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli import chart
from worker.cli.door import Json, project, say, show_json
from worker.core import calendar
from worker.core.trend import DIMENSIONS
from worker.errors import SettingsError
from worker.flow.project import Project
from worker.store import runs, summary

FIELDS = (
    *("week", "task_type", "segment", "scorer", "criterion", "scorer_version", "population", "sampled", "scored"),
    *("unscored", "coverage", "mean", "low", "high", "raw_mean"),
)
_BARS = "▁▂▃▄▅▆▇█"
LOW_COVERAGE = 0.8


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
    opened = project()
    points = read(opened, by=by, scorer=scorer, task_type=task_type, weeks=weeks)
    if form == "json":
        show_json({"points": points})
        return
    if not criteria:
        points = [point for point in points if point["criterion"] is None]
    if form == "csv":
        _csv(points, output)
    elif not points:
        say("no trend yet: take runs in (spotcheck ingest), then score nights (spotcheck nightly --wait)")
    elif form == "png":
        path = output or Path("trends.png")
        chart.draw(points, path)
        say(str(path))
    else:
        _table(opened, points, by)


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
        point = {field: row[field] for field in FIELDS if field != "coverage"}
        point["coverage"] = row["scored"] / row["sampled"] if row["sampled"] else None
        found.append({field: point[field] for field in FIELDS})
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


def _table(opened: Project, points: Sequence[dict[str, Any]], by: str) -> None:
    weeks = sorted({point["week"] for point in points})
    by_scorer: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        by_scorer[point["scorer"], point["criterion"] or "", point["scorer_version"]].append(point)
    zone = opened.settings.schedule.time_zone
    say(f"weekly means, 95 % intervals · ISO weeks, {zone} · a week with coverage below 80 % is marked !")
    for (scorer, criterion, version), rows in by_scorer.items():
        if not any(row["mean"] is not None for row in rows):
            unscored = sum(row["unscored"] for row in rows if row["task_type"] is None)
            say(f"\n{scorer} {criterion} {version}: nothing scored ({unscored:,} unscored)".replace("  ", " "))
            continue
        say()
        heads = "  ".join(f"{week[5:]:>4}" for week in weeks)
        say(f"{(scorer + ' ' + criterion).strip() + ' ' + version:<32}{heads}")
        lines: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for row in rows:
            lines[_name(row, by)][row["week"]] = row
        for name, line in lines.items():
            _line(name, line, weeks)


def _name(row: dict[str, Any], by: str) -> str:
    if by != "task_type":
        return row["segment"] or "(none)"
    return row["task_type"] or "overall, same mix"


def _line(name: str, line: dict[str, dict[str, Any]], weeks: Sequence[str]) -> None:
    shown, bars = [], ""
    for week in weeks:
        row = line.get(week)
        mean = None if row is None else row["mean"]
        low = row is not None and row["coverage"] is not None and row["coverage"] < LOW_COVERAGE
        shown.append("   ·" if mean is None else f"{mean:4.2f}" + ("!" if low else ""))
        bars += " " if mean is None else _BARS[min(7, int(mean * 8))]
    newest = next((line[week] for week in reversed(weeks) if week in line and line[week]["mean"] is not None), None)
    if newest is None:
        return
    interval = f"{newest['mean']:.2f} [{newest['low']:.2f}–{newest['high']:.2f}]"
    of = f"n {newest['scored']:,} of {newest['population']:,}"
    columns = " ".join(f"{cell:<5}" for cell in shown)
    say(f"  {name[:29]:<30}{columns} {bars}  {interval}  {of}")
    raw = newest["raw_mean"]
    if raw is not None and abs(raw - newest["mean"]) >= 0.005:
        say(f"  {'':<30}this week's own mix: {raw:.2f}; the difference is traffic, not quality")
