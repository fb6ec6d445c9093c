"""The weekly review as lines that fit a terminal: the answer first, eighty columns, nothing cut in a pipe."""

import textwrap
from collections.abc import Iterator

from worker.cli.output import counted
from worker.core.drift.alerting import kind_word, strength
from worker.core.report import story
from worker.core.report.causes import lead_changes
from worker.core.report.formatting import day, dollars, p_value, percent
from worker.core.report.model import Change, Report
from worker.core.stats.contrast import Contrast
from worker.render.charts import shares_of
from worker.render.html import no_breaks

_WIDTH, _NARROWEST, _WIDEST = 80, 40, 120
_NAME = (12, 24)
_ROWS = 20
_FACTS, _RUNS, _ALERTS = 3, 5, 5


def lines(report: Report, width: int | None) -> Iterator[str]:
    """The review.

    Args:
        report: As `queries.report.gather` returns it.
        width: Columns there are; None for a pipe, which gets every name whole.
    """
    wide = min(max(width or _WIDTH, _NARROWEST), _WIDEST)
    if report.window is not None:
        window = report.window
        nights = f"{day(window.since)} to {day(window.until, year=True)} ({report.time_zone})"
        head = f"{window.label}, {nights}: {counted(window.runs, 'ended run')} in {counted(window.nights, 'night')}"
        head += f"; {window.so_far}" if window.so_far else ""
        yield from _wrapped(f"{head}; only {report.task_type}" if report.task_type is not None else head, wide, "")
        yield ""
    for sentence in report.sentences:
        yield from _wrapped("".join(sentence), wide, "* ")
    for sentence in story.announcements(report):
        yield from _wrapped("".join(sentence), wide, "! ")
    if report.window is None:
        return
    for change in lead_changes(report.changes):
        yield ""
        yield from _finding(change, report, wide)
    if report.alerts:
        yield ""
    for alert in report.alerts[:_ALERTS]:
        yield from _wrapped(f"{day(alert.night)}: {alert.text}", wide, "alert ")
    yield from _outcomes(report, wide if width is not None else None)
    yield from _common(report, wide)
    yield from _worst(report, wide if width is not None else None)
    yield ""
    yield from _wrapped(_foot(report), wide, "")
    yield "the twenty runs to read, pictures and all counts: spotcheck report --html FILE"


def _wrapped(text: str, width: int, lead: str) -> list[str]:
    indent = " " * len(lead)
    flat = no_breaks(" ".join(text.split()))
    found = textwrap.wrap(
        flat, width, initial_indent=lead, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in found] or [lead.rstrip()]


def _finding(change: Change, report: Report, wide: int) -> Iterator[str]:
    drift = change.drift
    today = report.window.until if report.window else drift.found_night
    said = "".join(story.headline(change, report.primary))
    yield from _wrapped(
        f"{kind_word(drift.kind).upper()}  {said} since {story.since_day(drift, today)}", wide, f"[{drift.finding_id}] "
    )
    found = story.raised_by(change) or f"found {story.alarm_window(drift)}"
    rare = strength(drift.chance_per_year)
    parts = [
        f"n {story.scored_behind(change):,}",
        f"{found} ({day(drift.found_night)})",
        rare,
        story.persistence(change),
    ]
    parts += ["" if drift.state == "open" else drift.state, story.ended_note(change)]
    yield from _wrapped(" · ".join(part for part in parts if part), wide, "    ")
    also = "".join(story.also_seen_in(change, report.changes))
    if also:
        yield from _wrapped(f"also seen in: {also}", wide, "    ")
    for contrast in change.differs.found[:1]:
        yield from _wrapped(
            f"differs: {_contrast(contrast, change.bad_means, drift.stream.task_type is None)}", wide, "    "
        )
    if change.worst:
        yield from _wrapped("read: spotcheck show " + " · ".join(ref.run_id for ref in change.worst), wide, "    ")


def _contrast(contrast: Contrast, means: str, has_place: bool) -> str:
    where = f"in {contrast.task_type}, " if has_place and contrast.task_type is not None else ""
    return (
        f"{where}{contrast.kind} {contrast.name}: {percent(contrast.share_with)} of {contrast.n_with:,} runs {means}, "
        f"of {contrast.n_without:,} others {percent(contrast.share_without)}; p {p_value(contrast.p)} corrected"
    )


def _outcomes(report: Report, width: int | None) -> Iterator[str]:
    if not report.groups:
        return
    longest = max(len(group.task_type or "") for group in report.groups)
    name_width = max(_NAME[0], min(longest, _NAME[1], _WIDTH if width is None else width - 60))
    cost = {task.task_type: task.within.cost.value for task in report.operations}
    yield ""
    yield (
        f"{'task type':<{name_width}} {'runs':>8} {'good':>15} {'poor':>5} {'aborted':>7} {'errored':>7} {'n':>5} a run"
    )
    for group in report.groups[:_ROWS]:
        shares = shares_of(group)
        name = " ".join((group.task_type or "all").split())
        if width is not None and len(name) > name_width:
            name = name[: name_width - 1] + "…"
        good, poor = "not judged", "·"
        if group.good.low is not None and group.good.high is not None:
            part = group.completed / group.runs
            ends = (group.good.low, group.good.high)
            low, high = (percent(part * end, digits=0).removesuffix(" %") for end in ends)
            good, poor = f"{percent(shares['good'], digits=0)} [{low}–{high}]", percent(shares["poor"], digits=0)
        usd = cost.get(group.task_type or "")
        yield (
            f"{name:<{name_width}} {group.runs:>8,} {good:>15} {poor:>5} {percent(shares['aborted']):>7} "
            f"{percent(shares['errored']):>7} {group.good.n:>5,} {'' if usd is None else dollars(usd)}"
        ).rstrip()
    if len(report.groups) > _ROWS:
        yield f"{counted(len(report.groups) - _ROWS, 'more task type')}: --html or --json has all"


def _common(report: Report, wide: int) -> Iterator[str]:
    if not report.common.found:
        return
    yield ""
    yield f"bad runs have in common ({report.common.bad:,} of {report.common.runs:,} scored runs are below 0.5):"
    for contrast in report.common.found[:_FACTS]:
        yield from _wrapped(_contrast(contrast, "are bad", has_place=True), wide, "  ")


def _worst(report: Report, width: int | None) -> Iterator[str]:
    worst = report.reading.worst[:_RUNS]
    if not worst:
        return
    by = report.reading.worst_by if report.reading.worst_by != "heuristics" else "the heuristics' mean"
    yield ""
    yield f"worst runs by {by}; read one with spotcheck show ID:"
    for run in worst:
        asked = "" if run.input is None else " ".join(run.input.text.split())
        value = "unscored" if run.value is None else f"{run.value:.2f}"
        line = f"  {value}  {run.run_id}  {' '.join(run.task_type.split())}  {asked}"
        most = max(width or _WIDTH, len(value) + len(run.run_id) + 4)  # an id that is cut cannot be copied
        yield line if len(line) <= most else line[: most - 1] + "…"


def _foot(report: Report) -> str:
    said = ["".join(report.sampled.quality.text)]
    said.append("every ended run accounted for" if report.sampled.reconciles else "COUNTS DO NOT RECONCILE")
    models = ", ".join(judge.model for judge in report.sampled.judged)
    said.append(f"judging cost {report.sampled.judging_cost} ({models})" if models else "no judge")
    said.append(f"{report.sampled.false_alarms_per_year:g} false alarms a year allowed")
    return " · ".join(said)
