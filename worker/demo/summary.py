"""Printing the result of a demo, for a terminal of at least 80 columns."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

Say = Callable[[str], object]

_MAX_ALERTS = 3
_UNITS: Mapping[str, Callable[[float], str]] = {
    "agent": lambda value: f"{value:.2f}",
    "cost": lambda value: f"${value:.4f}",
    "steps": lambda value: f"{value:.1f} steps",
}
_KEPT = (
    ("filtered", "filtered out (the rubric judges completed runs)"),
    ("before_start", "before the start"),
    ("sampled_out", "not drawn"),
    ("scored", "scored"),
    ("unscored", "unscored"),
    ("failed", "failed"),
    ("shed", "skipped for budget"),
    ("pending", "pending"),
)


def print_findings(answer: Mapping[str, Any], say: Say) -> None:
    """Print each planted change with the finding that shows it, then false alarms and other alerts."""
    for planted in answer["planted"]:
        say(f"planted  {planted['what']} in {planted['task_type']} from {_day(planted['night'])}: {planted['size']}")
        say(f"  found  {_answer(planted, answer)}")
    unmatched = [finding for finding in answer["found"] if finding["what"] == "false alarm"]
    for finding in unmatched:
        where = finding["task_type"] or "all task types, same mix"
        say(f"FALSE ALARM: {finding['scorer']} in {where} on {finding['night']}, {_moved(finding)}")
    more = len(answer["found"]) - len(unmatched) - sum(1 for planted in answer["planted"] if planted["found"])
    also = f"; {more} more findings of the same changes" if more > 0 else ""
    say(f"false alarms: {answer['false_alarms'] or 'none'}{also}")
    for alert in answer["alerts"][:_MAX_ALERTS]:
        say(f"other alert: {alert['text']}")


def _answer(planted: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    if not planted["raises_alarm"]:
        alarms = answer["mix"]["alarms"]
        return "no quality alarm, as it should be" if not alarms else f"{alarms} QUALITY ALARMS"
    if not planted["found"]:
        return "NOT FOUND"
    key = (planted["what"], planted["found_night"])
    same_night = [finding for finding in answer["found"] if (finding["what"], finding["night"]) == key]
    first = min(same_night, key=lambda finding: finding["task_type"] is None)
    nights = "the first night" if planted["nights"] == 1 else f"night {planted['nights']}"
    where = "" if first["task_type"] else " in the overall line"
    return f"{_day(first['night'])}, {nights}{where}: {_moved(first)}"


def _moved(finding: Mapping[str, Any]) -> str:
    show = _UNITS.get(finding["kind"], _percent)
    return f"{show(finding['before'])} → {show(finding['after'])}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _day(night: date) -> str:
    return f"{night:%a %d %b}"


def print_mix(mix: Mapping[str, Any], say: Say) -> None:
    """Print how far the mix shift moved the overall line, and how much of that is the mix."""
    if mix["moved"] is None:
        return
    moved, explained = (100 * mix[name] for name in ("moved", "explained"))
    say(
        f"the mix: the raw overall line went {mix['raw_before']:.2f} → {mix['raw_after']:.2f}, at the same mix "
        f"{mix['same_mix_before']:.2f} → {mix['same_mix_after']:.2f}:"
    )
    say(f"    {mix['task_type']} grew, and mix explains {explained:+.0f} of {moved:+.0f} points")


def print_counts(answer: Mapping[str, Any], say: Say) -> None:
    """Print the reconciliation of all runs, and the cost of judging."""
    counted, judge = answer["counts"], answer["judge"]
    terms = " + ".join(f"{counted[term]:,} {words}" for term, words in _KEPT if counted[term])
    verdict = "every run is accounted for" if answer["reconciles"] else "COUNTS DO NOT RECONCILE"
    say(f"{verdict}, for each of {answer['scorers']} scorers every night; task_completion:")
    say(f"    {counted['ended']:,} ended = {terms}")
    say(
        f"judging (simulated): {judge['calls']:,} calls, {judge['input_tokens'] / 1e6:.1f} M tokens in, "
        f"{judge['output_tokens'] / 1e6:.1f} M out; ${judge['cost_usd']:.2f} at the example price"
    )
    without_call = counted["scored"] + counted["unscored"] - judge["calls"]
    if without_call > 0:
        say(f"    {without_call:,} more runs were scored without a call: their output is no answer")


def print_next_steps(answer: Mapping[str, Any], shadowing: Sequence[str], call: str, say: Say) -> None:
    """Print the commands to try next.

    Args:
        answer: The demo's answer.
        shadowing: Environment variables that would override the folder's settings.
        call: The command that starts Spotcheck in the demo's folder.
        say: Prints a line.
    """
    if answer.get("report"):
        say(f"the weekly review: {answer['report']}")
    say(f"look around:  cd {shlex.quote(answer['folder'])}")
    worst = next((planted for planted in answer["planted"] if planted["what"] == "quality drop"), None)
    say(f"    {call} drift")
    if worst is not None:
        say(f"    {call} runs --task-type {worst['task_type']} --since {worst['night']}")
    say(f"    {call} explain {answer['example_run']}")
    if shadowing:
        say(f"but first: unset {' '.join(shadowing)}   (commands would look elsewhere)")
