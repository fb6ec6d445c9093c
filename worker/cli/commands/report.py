"""`spotcheck report`: the weekly review on the terminal, as one HTML file, as Markdown, or for machines."""

import errno
import re
import sys
import webbrowser
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.context import now, project
from worker.cli.options import Json, near, window
from worker.cli.output import columns, note, plain, say, show_json
from worker.cli.views import report as report_text
from worker.core import calendar
from worker.core.report import story
from worker.core.report.model import Report
from worker.errors import SettingsError
from worker.project.project import Project
from worker.queries.empty import as_json as as_field
from worker.queries.report.gather import ReportRequest, empty_report, gather, unknown_task_type
from worker.render import html as report_html
from worker.render import json as report_json
from worker.render import markdown as report_markdown

_DEFAULT = Path("spotcheck-report.html")
_EARLIEST, _LATEST = 1970, 2999
"""Years; beyond them calendars end, and no run has been."""


def report(
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="One self-contained page.")] = None,
    markdown: Annotated[
        str | None, typer.Option("--markdown", metavar="FILE", help="For a chat or a ticket; - is stdout.")
    ] = None,
    week: Annotated[str | None, typer.Option("--week", help="ISO week like 2026-W47; the newest with runs.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="D", help="First night, YYYY-MM-DD.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="D", help="Last night, included.")] = None,
    task_type: Annotated[str | None, typer.Option("--task-type", help="Only this task type.")] = None,
    is_opened: Annotated[bool, typer.Option("--open", help=f"Show the page in a browser ({_DEFAULT}).")] = False,
    as_json: Json = False,
) -> None:
    """The weekly review: what moved and since when, findings, cost, outcomes, twenty runs to read, what it cost.

    The page asks no server for anything and holds texts of runs; keys, tokens and e-mail addresses in them are blanked.

    Examples: spotcheck report · spotcheck report --html week.html · spotcheck report --week 2026-W47 --markdown -
    """
    asked = _asked(week, since, until, task_type)
    if as_json and markdown == "-":
        raise SettingsError("--json and --markdown - both want stdout; give --markdown a file")
    opened = project()
    opened.scorers.heuristics.leaves_out_broken = True  # it only reads
    opened.scorers.tell_warnings()
    if task_type is not None:
        _check(opened, task_type)
    found = gather(opened, asked, now())
    page = html or (_DEFAULT if is_opened else None)
    if page is not None:
        _write("--html", page, lambda: report_html.render(found, is_redacted=opened.settings.scoring.redact))
    if markdown not in (None, "-"):
        _write("--markdown", Path(str(markdown)), lambda: report_markdown.render(found))
    if as_json:
        is_empty = found.window is not None and not found.window.runs
        empty = empty_report(opened, asked, found.window) if found.window is not None and is_empty else []
        show_json({**report_json.as_json(found), **as_field(empty)})
    elif markdown == "-":
        sys.stdout.write(report_markdown.render(found))
    elif page is not None or markdown is not None:
        _told(found, [path for path in (page, markdown) if path is not None])
    else:
        for line in report_text.lines(found, columns()):
            say(line)
    if is_opened and page is not None and not webbrowser.open(page.resolve().as_uri()):
        note(f"no browser was found; open {page} yourself")


def _asked(week: str | None, since: str | None, until: str | None, task_type: str | None) -> ReportRequest:
    """The nights that the options name.

    Raises:
        SettingsError: They contradict one another, or are no week or no dates.
    """
    first, last = window(since, until)
    if any(day is not None and not _EARLIEST <= day.year <= _LATEST for day in (first, last)):
        raise SettingsError(f"no run is so old or so new; name nights from {_EARLIEST} to {_LATEST}")
    if week is None:
        return ReportRequest(first, last, task_type)
    if first is not None or last is not None:
        raise SettingsError("--week and --since or --until name different nights; give one of them")
    try:
        if not re.fullmatch(r"(19[7-9]\d|2\d{3})-W\d{2}", week):
            raise ValueError(week)
        return ReportRequest(*_nights(week), task_type)
    except ValueError:
        raise SettingsError(f"--week {week!r} is not an ISO week; write it like 2026-W47") from None


def _nights(week: str) -> tuple[date, date]:
    return calendar.nights_of_week(week)


def _check(opened: Project, task_type: str) -> None:
    """A task type that no run has is mistyped.

    Raises:
        SettingsError: Says what was probably meant.
    """
    if known := unknown_task_type(opened, task_type):
        raise SettingsError(f"--task-type {task_type!r} has no runs{near(task_type, known)}")


def _write(option: str, path: Path, render: Callable[[], str]) -> None:
    try:
        path.write_bytes(render().encode("utf-8", "replace"))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise SettingsError(f"{option} {path} cannot be written: {error.strerror or error}") from None


def _told(found: Report, paths: list[Path | str]) -> None:
    """The sentences beside the result, which is where the files lie."""
    for sentence in (*found.sentences, *story.announcements(found)):
        note(plain("".join(sentence)))
    for path in paths:
        say(str(path))
