"""The last line of `nightly`: what was drawn, scored, left without a score and skipped, and what is open."""

from collections.abc import Mapping
from typing import Any

from worker.cli.output import counted
from worker.queries.night_summary import NightSummary

_SHOWN = 3


def night_line(drawn: str, jobs: str, summary: NightSummary) -> str:
    """All of it in one line.

    Args:
        drawn: How many nights and runs.
        jobs: What is still open, in words.
        summary: What the nights came to.
    """
    return "; ".join([drawn, *_scores(summary), jobs, *_open(summary)])


def _scores(summary: NightSummary) -> list[str]:
    parts = []
    kinds = {one.kind for one in summary.outcomes}
    if "judge" in kinds:
        words = [f"{summary.total('judge', 'scored'):,} scored"]
        if without := summary.total("judge", "unscored"):
            words.append(f"{without:,} unscored ({_by(summary.reasons())})")
        if failed := summary.total("judge", "failed"):
            words.append(f"{failed:,} failed")
        if skipped := summary.skipped():
            words.append(f"{sum(skipped.values()):,} skipped ({_by(skipped)})")
        parts.append(f"rubrics: {', '.join(words)}")
    if "heuristic" in kinds:
        parts.append(f"heuristics: {summary.total('heuristic', 'scored'):,} scored")
    return parts


def _by(counts: Mapping[str, int]) -> str:
    shown = [f"{count:,} {reason}" for reason, count in list(counts.items())[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(counts) > _SHOWN else "")


def _open(summary: NightSummary) -> list[str]:
    parts = []
    if summary.open_findings:
        parts.append(f"{counted(summary.open_findings, 'finding')} open (spotcheck drift)")
    if summary.pipeline:
        parts.append(f"{counted(len(summary.pipeline), 'alert')} about the pipeline itself (spotcheck alerts)")
    return parts


def as_json(summary: NightSummary) -> dict[str, Any]:
    """The same for `--json`."""
    return {
        "scorers": [{**one._asdict(), "reasons": summary.unscored.get(one.scorer, {})} for one in summary.outcomes],
        "open_findings": summary.open_findings,
        "pipeline": [one.text for one in summary.pipeline],
    }
