"""The report as Markdown for a chat message or a ticket: sentences, findings, a table, the worst runs.

Text from outside is put into code spans, where it cannot become a link, an image, a mention or HTML.
"""

import re
from collections.abc import Iterable, Sequence

from worker.core.drift.alerting import strength
from worker.core.report import story
from worker.core.report.causes import lead_changes
from worker.core.report.formatting import counted, day, dollars, percent
from worker.core.report.model import Change, OutsideName, Report, Sentence, TaskTypeOutcome
from worker.core.report.operational import OperationalWeeks
from worker.render.charts import shares_of

_FINDINGS, _ROWS, _RUNS = 8, 20, 5
_NAME_CHARS = 60
_ORDERS = dict.fromkeys(
    [*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029]
)
_ORDERS |= dict.fromkeys((9, 10, 11, 12, 13), " ")


def render(report: Report) -> str:
    """The report as GitHub-flavoured Markdown, of bounded length: at most eight findings, twenty rows, five runs."""
    title = report.window.title if report.window else "no runs yet"
    only = ["", f"Only {code(report.task_type)}."] if report.task_type is not None else []
    lines = [f"**Spotcheck, {title}**", *only, "", *(f"- {_sentence(one)}" for one in report.sentences)]
    lines += [f"- {_sentence(one)}" for one in story.announcements(report)]
    if report.window is None:
        return "\n".join(lines) + "\n"
    if report.changes:
        lines += ["", "**Findings**", ""]
        changes = lead_changes(report.changes)
        lines += [line for change in changes[:_FINDINGS] for line in _finding(change, report)]
        lines += _more(len(changes) - _FINDINGS, "more finding")
    if report.alerts:
        lines += ["", "**Other alerts**", ""]
        lines += [f"- {day(one.night)}: {code(one.text, 200)}" for one in report.alerts[:_RUNS]]
        lines += _more(len(report.alerts) - _RUNS, "more alert")
    if report.groups:
        lines += ["", *_table(report.groups, report.operations)]
        lines += _more(len(report.groups) - _ROWS, "more task type")
    worst = report.reading.worst[:_RUNS]
    if worst:
        lines += ["", f"**Worst runs** (by {_ranking(report)})", ""]
        lines += [
            f"- {code(run.run_id)} {code(run.task_type)} {'unscored' if run.value is None else f'{run.value:.2f}'}"
            for run in worst
        ]
    return "\n".join([*lines, "", _foot(report)]) + "\n"


def code(text: str, max_chars: int = _NAME_CHARS) -> str:
    r"""Text from outside as a code span, on one line, fit for a table cell.

    Example:
        >>> code("a|b"), code("x`y"), code("")
        ('`a\\|b`', '`` x`y ``', '` `')
    """
    flat = " ".join(text.translate(_ORDERS).split())
    if len(flat) > max_chars:
        flat = flat[: max_chars - 1] + "…"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    padded = f" {flat} " if len(fence) > 1 else flat or " "
    return fence + padded.replace("|", "\\|") + fence


def _sentence(pieces: Sentence) -> str:
    return "".join(code(piece) if isinstance(piece, OutsideName) else piece for piece in pieces)


def _finding(change: Change, report: Report) -> Iterable[str]:
    drift = change.drift
    today = report.window.until if report.window else drift.found_night
    parts = [f"finding {drift.finding_id}", f"found {day(drift.found_night)}", f"n {story.scored_behind(change):,}"]
    parts += [story.raised_by(change), strength(drift.chance_per_year), story.persistence(change)]
    parts += ["" if drift.state == "open" else drift.state, story.ended_note(change)]
    why = "; ".join(part for part in parts if part)
    yield f"- {_sentence(story.headline(change, report.primary))} since {story.since_day(drift, today)} ({why})"
    also = story.also_seen_in(change, report.changes)
    if also:
        yield f"  - also seen in: {_sentence(also)}"
    for contrast in change.differs.found[:1]:
        where = (
            f"{code(contrast.task_type)}, " if drift.stream.task_type is None and contrast.task_type is not None else ""
        )
        yield (
            f"  - {where}{contrast.kind} {code(contrast.name)}: "
            f"{percent(contrast.share_with)} of {contrast.n_with:,} runs {_plain(change.bad_means)}, "
            f"of {contrast.n_without:,} others {percent(contrast.share_without)}"
        )
    if change.worst:
        yield "  - read: " + ", ".join(code(ref.run_id) for ref in change.worst)


def _plain(means: str) -> str:
    """What counts as bad, with the name of a tool, which is from outside, as a code span."""
    start, sep, tool = means.partition(" call of ")
    return f"{start}{sep}{code(tool)}" if sep else means


def _more(count: int, noun: str) -> list[str]:
    return [f"- {counted(count, noun)}"] if count > 0 else []


def _table(groups: Sequence[TaskTypeOutcome], operations: Sequence[OperationalWeeks]) -> list[str]:
    by_task = {one.task_type: one for one in operations}
    rows = [
        "| task type | runs | good | poor | aborted | errored | n | cost a run |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for group in groups[:_ROWS]:
        shares = shares_of(group)
        name = "**all**" if group.task_type is None else code(group.task_type)
        is_judged = group.good.mean is not None
        good, poor = (percent(shares[part], digits=0) if is_judged else "not judged" for part in ("good", "poor"))
        weeks_of_task = by_task.get(group.task_type) if group.task_type is not None else None
        cost = None if weeks_of_task is None else weeks_of_task.within.cost.value
        cells = (
            *(name, f"{group.runs:,}", good, poor, percent(shares["aborted"]), percent(shares["errored"])),
            *(f"{group.good.n:,}", "–" if cost is None else dollars(cost)),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _ranking(report: Report) -> str:
    by = report.reading.worst_by
    return "the heuristics' mean" if by in (None, "heuristics") else code(by or "")


def _foot(report: Report) -> str:
    parts = [_sentence(report.sampled.quality.text)]
    parts.append("counts add up" if report.sampled.reconciles else "**COUNTS DO NOT ADD UP**")
    usd = report.sampled.judging_usd
    parts.append("judging cost is unknown" if usd is None else f"judging cost {report.sampled.judging_cost}")
    parts.append(f"{report.sampled.false_alarms_per_year:g} false alarms a year allowed")
    return "_" + " · ".join(parts) + "_" if report.sampled.reconciles else " · ".join(parts)
