"""`spotcheck drift`: findings, and what a person decides about them."""

from datetime import date, timedelta
from typing import Annotated, Any

import typer

from worker.cli.context import now, project
from worker.cli.options import Json
from worker.cli.output import counted, inline, say, show_json
from worker.cli.views.series import series_json, series_lines
from worker.core.drift import alerting
from worker.errors import EXIT_DRIFT
from worker.pipeline.decide import decide_findings
from worker.project.project import Project
from worker.queries.findings import list_findings
from worker.queries.readiness import learning, untested
from worker.queries.report.series import SeriesHistory, recent_series
from worker.records import Drift

MUTE_NIGHTS = 7
_LIVING = ("open", "acknowledged", "muted")


def drift(
    everything: Annotated[bool, typer.Option("--all", help="Recovered and accepted ones too.")] = False,
    acknowledge: Annotated[
        int | None, typer.Option(metavar="N", help="Seen: finding N stays open, unrepeated.")
    ] = None,
    mute: Annotated[int | None, typer.Option(metavar="N", help="Say nothing of finding N for a while.")] = None,
    nights: Annotated[int, typer.Option(min=1, max=365, help="How long --mute lasts.")] = MUTE_NIGHTS,
    accept: Annotated[int | None, typer.Option(metavar="N", help="The new level of finding N is normal now.")] = None,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit 10 when a finding is open.")] = False,
    as_json: Json = False,
) -> None:
    """Changes beyond chance, each with its window, size, and how often chance alone would show it.

    Examples: spotcheck drift · spotcheck drift --acknowledge 3 · spotcheck drift --accept 3
    """
    opened = project()
    given = {"acknowledged": acknowledge, "muted": mute, "accepted": accept}
    decisions = {state: number for state, number in given.items() if number is not None}
    if decisions:
        decide_findings(opened, decisions, muted_until=opened.nights.of(now()) + timedelta(days=nights))
    found = list_findings(opened, everything=everything)
    series = recent_series(opened)
    if as_json:
        findings = [finding_json(finding) | _ended_json(series, finding) for finding in found]
        show_json({"findings": findings, **series_json(series)})
    else:
        allowed = opened.settings.alerts.false_alarms_per_year
        count = counted(len(found), "finding") if found else none_found(opened) + _ended(opened)
        say(f"{count} (project budget: {allowed:g} false alarms a year)")
        for finding in found:
            say()
            for line in (*describe(finding), *_ended_line(series, finding)):
                say(line)
        for told in series_lines(series):
            say()
            for line in told:
                say(line)
    if fail_on_drift and any(finding.state == "open" for finding in found):
        raise typer.Exit(EXIT_DRIFT)


def _ended(opened: Project) -> str:
    """How many findings have ended, as the end of a sentence; nothing without any."""
    ended = len(list_findings(opened, everything=True))
    return f"; {counted(ended, 'finding')} that ended: --all" if ended else ""


def series_end(series: SeriesHistory | None, finding: Drift) -> date | None:
    """The last night of a finding's series, where another has taken over from it; else None."""
    key = finding.stream
    return None if series is None else series.ended(key.scorer, key.scorer_version, key.task_type)


def _ended_json(series: SeriesHistory | None, finding: Drift) -> dict[str, Any]:
    last = series_end(series, finding)
    return {} if last is None else {"series_ended": last}


def _ended_line(series: SeriesHistory | None, finding: Drift) -> list[str]:
    last = series_end(series, finding)
    if last is None:
        return []
    version = inline(finding.stream.scorer_version)
    told = f"    series {version} ended {last}; what came after is not compared with it"
    return [f"{told}, so it stays open until --accept {finding.finding_id}"] if finding.state in _LIVING else [told]


def none_found(opened: Project) -> str:
    """That nothing was found, unless nothing was looked for yet."""
    known = learning(opened)
    missing = untested(known)
    if missing is None:
        return "no drift found"
    return f"no drift found; {missing}" if known.is_tested else missing


def describe(finding: Drift) -> list[str]:
    """A finding in words, two lines; levels in the units that `spotcheck alerts` has.

    Example:
        "[3] COST  refund · cost per run   $0.0126 → $0.0173 over 3 nights to 2026-11-12 (n 145)".
    """
    where = inline(finding.stream.task_type or "all task types, same mix")
    what = alerting.kind_word(finding.kind).upper()
    figure = inline(alerting.stream_title(finding.stream.scorer))
    before, after = (alerting.format_level(finding.kind, value) for value in (finding.before, finding.after))
    over = (
        counted(finding.window_nights, "night")
        if finding.window_hours is None
        else counted(finding.window_hours, "hour")
    )
    state = "" if finding.state == "open" else f" · {finding.state}"
    head = (
        f"[{finding.finding_id}] {what}  {where} · {figure}   {before} → {after} over {over} to {finding.found_night} "
        f"(n {finding.scored}){state}"
    )
    return [head, f"    since {finding.since} · {alerting.strength(finding.chance_per_year)}"]


def finding_json(finding: Drift) -> dict[str, Any]:
    """A finding as --json shows it."""
    fields = finding.model_dump(mode="json", exclude={"stream"})
    return {"stream": finding.stream._asdict(), **fields}
