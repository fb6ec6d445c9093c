"""What scorers say of one run, as `spotcheck score --run` shows it."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from worker.cli.output import inline
from worker.cli.views.run import headline
from worker.pipeline.score_run import RunVerdicts, Verdict
from worker.records import Run

_WORDS = ("value", "label", "reason", "rationale", "evidence", "p_pass")
_EVIDENCE_CHARS = 200
_LATER = "in no estimate yet: drawn, but this night was not enrolled for this series; a backfill counts it"


def as_json(run: Run, night: date, answer: RunVerdicts) -> dict[str, Any]:
    """What `--json` says."""
    return {
        "run_id": run.run_id,
        "source": run.source,
        "night": night,
        "trouble": answer.trouble,
        "scores": [_json(verdict) for verdict in answer.verdicts],
    }


def _json(verdict: Verdict) -> dict[str, Any]:
    total = verdict.total
    words = dict.fromkeys(_WORDS) if total is None else {name: total[name] for name in _WORDS}
    return {
        "scorer": verdict.scorer,
        "scorer_version": verdict.series,
        "state": verdict.state,
        "stored_before": verdict.is_stored,
        "counts": verdict.is_drawn,
        **words,
        "reason": verdict.reason,
        "model_served": None if total is None else total["model_served"],
        "cost_usd": None if total is None else total["cost_usd"],
        "at": None if total is None else total["created_at"],
        "criteria": [
            {"criterion": row["criterion"]} | {name: row[name] for name in _WORDS}
            for row in verdict.rows
            if row["criterion"] is not None
        ],
    }


def lines(run: Run, answer: RunVerdicts) -> Iterator[str]:
    """The lines for a person."""
    yield headline(run)
    for verdict in answer.verdicts:
        yield from _told(verdict, is_drawn=answer.is_drawn)


def _told(verdict: Verdict, *, is_drawn: bool) -> Iterator[str]:
    total = verdict.total
    name = f"{inline(verdict.scorer)} {verdict.series}"
    if total is None:
        yield f"  {name}: {verdict.state.replace('_', ' ')}{f': {inline(verdict.reason)}' if verdict.reason else ''}"
        return
    value = "unscored" if total["value"] is None else f"{total['value']:.2f}"
    said = [value, *(part for part in (total["label"], verdict.reason) if part)]
    if total["cost_usd"] is not None and total["model_requested"]:
        said.append(f"${total['cost_usd']:.4f}")
    if verdict.is_stored:
        said.append(f"stored, scored {total['created_at']:%d %b %Y %H:%M} UTC")
    if not verdict.is_drawn:
        said.append(_LATER if is_drawn else "in no estimate: the run was not drawn")
    yield f"  {name}: {inline(' · '.join(said))}"
    criteria = [row for row in verdict.rows if row["criterion"] is not None]
    if not any(_repeats(total, row) for row in criteria):
        yield from _reasons(total, "    ")
    for row in criteria:
        verdict_said = row["label"] or (f"{row['value']:.2f}" if row["value"] is not None else row["reason"])
        yield "    " + inline(f"{row['criterion']}: {verdict_said}")
        yield from _reasons(row, "      ")


def _repeats(total: Any, row: Any) -> bool:  # noqa: ANN401 rows
    """Whether the aggregate's reason is only that of its lowest criterion, which has a line of its own."""
    said = total["rationale"]
    own = f"{row['criterion']} {row['label']}: {row['rationale']}"
    return bool(said) and own.startswith(said) and total["evidence"] in (None, [], row["evidence"])


def _reasons(row: Any, indent: str) -> Iterator[str]:  # noqa: ANN401 a row
    if row["rationale"]:
        yield indent + inline(row["rationale"])
    for item in row["evidence"] or ():
        quote = inline(str(item.get("quote") or ""))
        where = "" if item.get("step") is None else f" (step {item['step']})"
        if quote:
            yield f'{indent}"{quote[:_EVIDENCE_CHARS]}"{where}'
