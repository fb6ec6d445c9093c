"""A demo's outcome in words, for a terminal of 80 columns or more."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

Say = Callable[[str], object]

_MOST_ALERTS = 3
_UNITS: Mapping[str, Callable[[float], str]] = {
    "agent": lambda value: f"{value:.2f}",
    "cost": lambda value: f"${value:.4f}",
    "steps": lambda value: f"{value:.1f} steps",
}
_KEPT = (
    ("filtered", "not the rubric's to judge"),
    ("before_start", "before the start"),
    ("sampled_out", "not drawn"),
    ("scored", "scored"),
    ("unscored", "unscored"),
    ("failed", "failed"),
    ("shed", "shed"),
    ("pending", "pending"),
)


def findings(answer: Mapping[str, Any], say: Say) -> None:
    """Planted beside found, in the order of the nights."""
    for one in answer["planted"]:
        say(f"planted  {one['what']} in {one['task_type']} from {_day(one['night'])}: {one['size']}")
        say(f"  found  {_answer(one, answer)}")
    unmatched = [one for one in answer["found"] if one["what"] == "false alarm"]
    for one in unmatched:
        where = one["task_type"] or "all task types, same mix"
        say(f"FALSE ALARM: {one['scorer']} in {where} on {one['night']}, {_moved(one)}")
    more = len(answer["found"]) - len(unmatched) - sum(1 for one in answer["planted"] if one["found"])
    also = f"; {more} more findings of the same changes" if more > 0 else ""
    say(f"false alarms: {answer['false_alarms'] or 'none'}{also}")
    for one in answer["alerts"][:_MOST_ALERTS]:
        say(f"also told: {one['text']}")


def _answer(planted: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    if not planted["raises_alarm"]:
        alarms = answer["mix"]["alarms"]
        return "no quality alarm, as it should be" if not alarms else f"{alarms} QUALITY ALARMS"
    if not planted["found"]:
        return "NOT FOUND"
    same_night = [
        one for one in answer["found"] if (one["what"], one["night"]) == (planted["what"], planted["found_night"])
    ]
    seen = min(same_night, key=lambda one: one["task_type"] is None)
    nights = "the first night" if planted["nights"] == 1 else f"night {planted['nights']}"
    where = "" if seen["task_type"] else " in the overall line"
    return f"{_day(seen['night'])}, {nights}{where}: {_moved(seen)}"


def _moved(one: Mapping[str, Any]) -> str:
    show = _UNITS.get(one["kind"], _percent)
    return f"{show(one['before'])} → {show(one['after'])}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _day(night: date) -> str:
    return f"{night:%a %d %b}"


def traffic(mix: Mapping[str, Any], say: Say) -> None:
    """What the shift did to the overall line, and what of it is traffic."""
    if mix["moved"] is None:
        return
    moved, explained = (100 * mix[name] for name in ("moved", "explained"))
    say(
        f"the mix: the raw overall line went {mix['raw_before']:.2f} → {mix['raw_after']:.2f}, at the same mix "
        f"{mix['same_mix_before']:.2f} → {mix['same_mix_after']:.2f}:"
    )
    say(f"    {mix['task_type']} grew, and mix explains {explained:+.0f} of {moved:+.0f} points")


def ledger(answer: Mapping[str, Any], say: Say) -> None:
    """The reconciliation, and the judge's bill."""
    counted, judge = answer["counts"], answer["judge"]
    terms = " + ".join(f"{counted[term]:,} {words}" for term, words in _KEPT if counted[term])
    verdict = "every run is accounted for" if answer["reconciles"] else "COUNTS DO NOT RECONCILE"
    say(f"{verdict}, for each of {answer['scorers']} scorers every night; task_completion:")
    say(f"    {counted['ended']:,} ended = {terms}")
    say(
        f"judging (simulated): {judge['calls']:,} calls, {judge['input_tokens'] / 1e6:.1f} M tokens in, "
        f"{judge['output_tokens'] / 1e6:.1f} M out; ${judge['cost_usd']:.2f} at the example price"
    )


def next_steps(answer: Mapping[str, Any], shadowing: Sequence[str], call: str, say: Say) -> None:
    """Where to look, and what would lead away from there.

    Args:
        answer: The demo's.
        shadowing: Variables of this shell that would lead elsewhere.
        call: How `spotcheck` is started in the demo's folder.
        say: Takes a line.
    """
    if answer.get("report"):
        say(f"the weekly review: {answer['report']}")
    say(f"look around:  cd {shlex.quote(answer['folder'])}")
    worst = next((one for one in answer["planted"] if one["what"] == "quality drop"), None)
    say(f"    {call} drift")
    if worst is not None:
        say(f"    {call} runs --task-type {worst['task_type']} --since {worst['night']}")
    say(f"    {call} explain {answer['example_run']}")
    if shadowing:
        say(f"but first: unset {' '.join(shadowing)}   (commands would look elsewhere)")
