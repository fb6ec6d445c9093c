"""The report as one self-contained HTML file, without scripts and without anything loaded from outside.

Jinja2 escapes every value; control characters and direction marks are made visible in the whole page. Its content
security policy allows its own style sheet, by hash, and nothing else.
"""

import base64
import hashlib
import re
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from worker.core.drift.alerting import kind_word, strength
from worker.core.report import story
from worker.core.report.causes import lead_changes
from worker.core.report.formatting import amount, counted, day, dollars, p_value, percent
from worker.core.report.model import OutsideName, Report, ScorerCounts, StreamChart, TaskTypeOutcome
from worker.core.report.operational import WeekFigure
from worker.records import Estimate
from worker.render import charts

_HERE = Path(__file__).parent
_MOST_RUBRIC_PANELS, _MOST_PANELS = 80, 24
"""Most charts of one rubric, and of one heuristic; those with findings and most runs come first."""
_GLIMPSE_CHARS = 90
_ORDERS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_ORDERS |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_TERMS = (
    ("ended", "ended"),
    ("filtered", "filtered"),
    ("before_start", "before start"),
    ("sampled_out", "not drawn"),
    ("scored", "scored"),
    ("unscored", "unscored"),
    ("failed", "failed"),
    ("shed", "shed"),
    ("pending", "pending"),
)
_FIXED = "\N{NO-BREAK SPACE}"
_LOOSE = re.compile(r"(?<=\d) (?=%)|(?<=\bn) (?=\d)|(?<=\d) (?=of\b)")
_LIVING = ("open", "acknowledged", "muted")


class _ScorerCharts(NamedTuple):
    """The streams of one scorer."""

    scorer: str
    is_rubric: bool
    is_moved: bool
    said: str
    shown: Sequence[StreamChart]
    left_out: int
    axis: charts.Axis


def render(report: Report, *, is_redacted: bool = True) -> str:
    """The report as an HTML page.

    Args:
        report: As `queries.report.gather` returns it.
        is_redacted: Whether secrets in its texts were replaced; the page says so.
    """
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    living = [one.drift for one in report.changes if one.drift.state in _LIVING]
    moved = {stream for stream in report.streams if any(stream.has_moved(drift) for drift in living)}
    page = _environment(report, moved).get_template("report.html.j2")
    html = page.render(
        r=report,
        style=Markup(style),  # noqa: S704 our own file
        policy=_policy(style),
        hatch=charts.HATCH,
        announced=story.announcements(report),
        leads=min(len(lead_changes(report.changes)), 2),
        findings=lead_changes(report.changes),
        groups=_groups(report.streams, moved),
        spend=sum(one.within.cost.total for one in report.operations),
        unpriced=sum(one.within.runs - one.within.cost.n for one in report.operations),
        tools=_tools(report),
        faultless=sum(1 for one in report.operations for _, weeks in one.tools if weeks and weeks[-1].value == 0),
        has_incomplete=any(one.incomplete for one in report.groups),
        terms=_terms(report.sampled.tallies),
        reasons=[(one.scorer, *reason) for one in report.sampled.tallies for reason in one.reasons],
        is_redacted=is_redacted,
    )
    return clean(html)  # the whole page, so that no control character gets through any part of it


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def clean(text: str) -> str:
    r"""The text with control characters as visible symbols, and direction marks as `�`.

    Example:
        >>> clean("a\x00b\u202ec")
        'a␀b�c'
    """
    return text.translate(_ORDERS)


def _environment(report: Report, moved: Collection[StreamChart]) -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    zone = ZoneInfo(report.time_zone)
    today = report.window.until if report.window else report.made_at.date()

    def clock(at: datetime) -> str:
        local = at.astimezone(zone)
        return f"{day(local.date(), year=True)} {local:%H:%M %Z}"

    def panel(stream: StreamChart, axis: charts.Axis) -> Markup:
        name = "overall, same mix" if stream.task_type is None else stream.task_type
        return charts.panel(stream, report.window.weeks if report.window else (), axis, name)

    made.filters |= {
        "kind_word": kind_word,
        "pct": lambda share: no_breaks(percent(share)),
        "pct0": lambda share: no_breaks(percent(share, digits=0)),
        "tight": no_breaks,
        "usd": dollars,
        "amount": amount,
        "between": _between,
        "interval": _interval,
        "counted": counted,
        "day": day,
        "day_year": lambda night: day(night, year=True),
        "clock": clock,
        "p": lambda p: p_value(p).replace(" ", _FIXED),
        "strength": strength,
        "glimpse": _glimpse,
        "panel": panel,
        "remark": _remark,
        "headline": lambda change: story.headline(change, report.primary),
        "since": lambda change: story.since_day(change.drift, today),
        "scored": story.scored_behind,
        "also_seen": lambda change: story.also_seen_in(change, report.changes),
        "found_as": lambda change: no_breaks(story.raised_by(change) or f"found {story.alarm_window(change.drift)}"),
        "stayed": lambda change: no_breaks(story.persistence(change)),
        "level": _level,
        "ended": story.ended_note,
        "spark": charts.spark,
        "outcome_bar": charts.outcome_bar,
        "shares": charts.shares_of,
        "good_interval": lambda group: _of_completed(group, group.good),
        "poor_interval": lambda group: _of_completed(group, _other(group.good)),
        "field": getattr,
    }
    made.tests |= {
        "name": lambda piece: isinstance(piece, OutsideName),
        "moved": lambda stream: stream in moved,
    }
    return made


def no_breaks(text: str) -> str:
    r"""The text with no-break spaces between a number and its sign or word.

    Example:
        >>> no_breaks("from 91 % to 72 % (n 150)")
        'from 91\xa0% to 72\xa0% (n\xa0150)'
    """
    return _LOOSE.sub(_FIXED, text)


def _interval(estimate: Any) -> str:  # noqa: ANN401 anything with low and high
    return "" if estimate.low is None or estimate.high is None else _span(estimate.low, estimate.high)


def _span(low: float, high: float) -> str:
    return f"[{percent(low, digits=0).removesuffix(' %')}–{percent(high, digits=0)}]"


def _between(figure: WeekFigure, unit: Any) -> str:  # noqa: ANN401 a Unit
    if figure.low is None or figure.high is None:
        return ""
    if unit == "share":
        return f"[{percent(figure.low).removesuffix(' %')}–{percent(figure.high)}]"
    return f"[{amount(figure.low, unit)}–{amount(figure.high, unit)}]"


def _other(good: Estimate) -> Estimate:
    """The complement of the good share, with its interval."""
    if good.mean is None or good.low is None or good.high is None:
        return good
    return good._replace(mean=1 - good.mean, low=1 - good.high, high=1 - good.low)


def _of_completed(group: TaskTypeOutcome, share: Estimate) -> str:
    """The interval of a share of the completed runs, converted to a share of all runs."""
    if share.low is None or share.high is None or not group.runs:
        return ""
    completed = group.completed / group.runs
    return _span(completed * share.low, completed * share.high)


def _level(value: float, scorer: str) -> str:
    """The value that a run was chosen by: score, dollars or steps."""
    unit = story.unit_of(scorer)
    return f"score {value:.2f}" if unit == "share" else dollars(value) if unit == "usd" else f"{value:.0f} steps"


def _glimpse(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _GLIMPSE_CHARS else flat[:_GLIMPSE_CHARS].rstrip() + "…"


def _remark(stream: StreamChart) -> str:
    """Notes under a chart: why it is not tested, low coverage, a different mix, an old figure."""
    state_note = {
        "tested": "",
        "young": f"too early to test for a change: {stream.learned.said}",
        "unscored": "nothing scored yet",
        "elsewhere": "changes are looked for in all runs, not in this sample",
    }[stream.state]
    newest = stream.newest
    if newest is None or newest.mean is None:
        return state_note
    parts = [state_note] if state_note else []
    if newest.is_thin:
        parts.append(
            f"coverage {percent(newest.coverage or 0.0, digits=0)}: {counted(newest.unscored, 'run')} unscored"
        )
    if newest.raw_mean is not None and abs(newest.raw_mean - newest.mean) >= 0.015:
        parts.append(f"at this week's own mix {percent(newest.raw_mean, digits=0)}: the difference is traffic")
    if stream.points and newest.week != stream.points[-1].week:
        parts.append(f"the figure is of {newest.week}; nothing is scored since")
    if any(point.series != stream.of for point in stream.points):
        parts.append(f"only of series {stream.of}")
    return "; ".join(parts)


def _groups(streams: Sequence[StreamChart], moved: Collection[StreamChart]) -> list[_ScorerCharts]:
    by_scorer: dict[str, list[StreamChart]] = {}
    for stream in streams:
        by_scorer.setdefault(stream.scorer, []).append(stream)
    groups = []
    for scorer, scorer_streams in by_scorer.items():
        with_scores = [stream for stream in scorer_streams if stream.newest is not None]
        max_panels = _MOST_RUBRIC_PANELS if scorer_streams[0].is_rubric else _MOST_PANELS
        shown = with_scores[:max_panels]
        is_moved = any(stream in moved for stream in scorer_streams)
        groups.append(
            _ScorerCharts(
                scorer,
                scorer_streams[0].is_rubric,
                is_moved,
                _summary_of(scorer_streams, with_scores, moved),
                shown,
                len(with_scores) - len(shown),
                charts.axis_of(shown),
            )
        )
    return groups


def _summary_of(
    scorer_streams: Sequence[StreamChart], with_scores: Sequence[StreamChart], moved: Collection[StreamChart]
) -> str:
    if not with_scores:
        unscored = sum(
            point.unscored for stream in scorer_streams if stream.task_type is not None for point in stream.points
        )
        return f"nothing scored ({unscored:,} unscored)"
    parts = [counted(len(with_scores), "stream")]
    changed = sum(stream in moved for stream in scorer_streams)
    young = sum(stream.state == "young" for stream in scorer_streams)
    if changed:
        parts.append(f"{changed} changed")
    if young:
        parts.append(f"{young} too young to test")
    overall = next((stream.newest for stream in with_scores if stream.task_type is None), with_scores[0].newest)
    if len(with_scores) > 1 and overall is not None and overall.mean is not None:
        parts.append(f"overall {percent(overall.mean, digits=0)}")
    return ", ".join(parts)


def _tools(report: Report) -> list[tuple[str, str, Sequence[WeekFigure]]]:
    """Tools with a failed call in the newest week, by the lower limit of their failure rate, highest first."""
    failing = [
        (weeks_of_task.task_type, tool, weeks)
        for weeks_of_task in report.operations
        for tool, weeks in weeks_of_task.tools
        if weeks and weeks[-1].value
    ]
    return sorted(failing, key=lambda item: (-(item[2][-1].low or 0.0), -item[2][-1].n, item[1], item[0]))


def _terms(tallies: Sequence[ScorerCounts]) -> list[tuple[str, str]]:
    """The columns of the reconciliation that are not 0 for all scorers, to save width on a phone."""
    always = ("ended", "scored", "unscored")
    return [
        (term, head)
        for term, head in _TERMS
        if term in always or any(getattr(scorer_counts, term) for scorer_counts in tallies)
    ]
