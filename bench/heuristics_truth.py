"""Says what each heuristic is worth: the mean truth of real runs where it passes and where it fails, per task type.

Run it from the project's root: `PYTHONPATH=. python bench/heuristics_truth.py [RUNS.jsonl.gz]`. The truth never reaches
a scorer. A run without an end gets one, and what the data calls `user` steps are `other` steps here. The references of
the range scorers are the medians of the same runs. `r` is the correlation of value and truth.
"""

import gzip
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from worker.records import Reference, Run
from worker.scorers.protocol import Context
from worker.scorers.registry import build
from worker.settings.sections_sampling import ScoringSection

RUNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "runs.jsonl.gz"
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMAS: dict[str, dict[str, Any]] = {"medagentbench": {"type": "array"}}
"""Task types whose instructions promise JSON: MedAgentBench ends with `FINISH([…])`."""
SCORERS = build(ScoringSection(schemas=SCHEMAS))
RUN_FIELDS = ("run_id", "source", "agent", "task_type", "status", "input", "output", "cost_usd")
STEP_FIELDS = ("seq", "name", "arguments", "result", "error", "duration_ms", "input_tokens", "output_tokens")


class Known(NamedTuple):
    """A run, and beside it what was true of it."""

    run: Run
    truth: float


class Row(NamedTuple):
    """One heuristic on one task type."""

    scorer: str
    task_type: str
    pairs: Sequence[tuple[float, float]]
    """Value and truth of the scored runs."""
    unscored: int

    @property
    def passed(self) -> list[float]:
        """Truths of the runs with a value of at least .5."""
        return [truth for value, truth in self.pairs if value >= 0.5]

    @property
    def failed(self) -> list[float]:
        """Truths of the others."""
        return [truth for value, truth in self.pairs if value < 0.5]


def main() -> None:
    """Print the table."""
    known = list(load(Path(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
    print(f"{len(known)} runs\n")
    print("| scorer | task type | pass | fail | unscored | truth, pass | truth, fail | difference | r |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows(known):
        print(line(row))


def load(path: Path) -> Iterator[Known]:
    """The runs of the file, truth apart."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for text in lines:
            raw = json.loads(text)
            steps = [
                {"kind": "other" if step["kind"] == "user" else step["kind"], **{f: step[f] for f in STEP_FIELDS}}
                for step in raw["steps"]
            ]
            for step in steps:
                step["name"] = step["name"] or ""
            fields = {name: raw[name] for name in RUN_FIELDS}
            run = Run(**fields, steps=steps, ended_at=SOME_DAY, latency_ms=raw["duration_ms"])
            yield Known(run, raw["truth"])


def rows(known: Sequence[Known]) -> Iterator[Row]:
    """Every heuristic on every task type, the task types together last."""
    by_type: dict[str, list[Known]] = defaultdict(list)
    for one in known:
        by_type[one.run.task_type].append(one)
    for name in SCORERS:
        parts = [row(name, task_type, runs) for task_type, runs in sorted(by_type.items())]
        yield from (part for part in parts if part.pairs)
        yield Row(name, "all", [pair for part in parts for pair in part.pairs], sum(part.unscored for part in parts))


def row(name: str, task_type: str, known: Sequence[Known]) -> Row:
    """One heuristic on the runs of one task type."""
    context = Context(reference=reference([one.run for one in known]))
    pairs = []
    for one in known:
        value = SCORERS[name].evaluate(one.run.for_scorer(), context).value
        if value is not None:
            pairs.append((value, one.truth))
    return Row(name, task_type, pairs, len(known) - len(pairs))


def reference(runs: Sequence[Run]) -> Reference:
    """The medians of what the runs say; None from fewer than ten."""

    def median(values: Sequence[float | None]) -> float | None:
        said = [value for value in values if value is not None]
        return statistics.median(said) if len(said) >= 10 else None

    return Reference(
        cost_usd=median([run.cost_usd for run in runs]),
        steps=median([len(run.steps) for run in runs]),
        latency_ms=median([run.latency_ms for run in runs]),
    )


def line(row: Row) -> str:
    """A row of the table; a difference needs runs on both sides."""

    def mean(truths: Sequence[float]) -> str:
        return f"{statistics.fmean(truths):.2f}" if truths else "–"

    passed, failed = row.passed, row.failed
    difference = f"{statistics.fmean(passed) - statistics.fmean(failed):+.2f}" if passed and failed else "–"
    try:
        r = f"{statistics.correlation(*zip(*row.pairs, strict=True)):+.2f}"
    except (statistics.StatisticsError, TypeError):  # too few runs, or all alike
        r = "–"
    counts = f"{len(passed)} | {len(failed)} | {row.unscored}"
    return f"| {row.scorer} | {row.task_type} | {counts} | {mean(passed)} | {mean(failed)} | {difference} | {r} |"


if __name__ == "__main__":
    main()
