"""Projects with a past for the tests of the report: real intake, draws, ledger and scans; made-up verdicts."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from tests.support.ledger import Ledger, row
from worker.connectors.sources import jsonl
from worker.core.calendar import nights_between
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import take
from worker.pipeline.nightly import finish
from worker.pipeline.operations.watch import watch
from worker.project.project import Project
from worker.settings import Settings
from worker.store.engine import Store
from worker.store.queue.settling import Settled
from worker.store.runs import runs

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
"""A Monday morning: the newest week with runs is 2026-W47."""
LAST = date(2026, 11, 22)
HOSTILE = "<script>alert(1)</script>"
TOML = '[sampling]\nrate = 1.0\nflagged_rate = 1.0\n[scoring]\nheuristics = ["answer_present"]\n'
Verdict = Callable[[str, str], float | str | None]
"""What a scorer says of a run, by scorer name and run id: a value, or a reason to be unscored; None leaves it open."""


class Made(NamedTuple):
    """A project and its store."""

    project: Project
    store: Store


def document(run_id: str, night: date = LAST, **over: Any) -> dict[str, Any]:
    """A run that ended at noon of a night."""
    return {
        "run_id": run_id,
        "task_type": "refund",
        "status": "completed",
        "ended_at": datetime(night.year, night.month, night.day, 12, tzinfo=UTC).isoformat(),
        "input": "Please refund order 4711.",
        "output": "Done.",
        "agent": "bot",
        "agent_version": "1.0",
        "cost_usd": 0.02,
        "input_tokens": 1000,
        **over,
    }


def night(back: int) -> date:
    """The night so many before the last."""
    return LAST - timedelta(days=back)


def settings(store: Store, toml: str = TOML, *, model: str | None = "a-judge") -> Settings:
    environ = {"SPOTCHECK_DATABASE_URL": store.engine.url.render_as_string(hide_password=False)}
    if model is not None:
        environ |= {"SPOTCHECK_JUDGE_MODEL": model, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    return Settings.read(environ, toml)


def make(
    store: Store,
    documents: Iterable[Mapping[str, Any]],
    verdict: Verdict = lambda scorer, run_id: 1.0,
    *,
    toml: str = TOML,
    model: str | None = "a-judge",
    rationale: str = "It did what was asked.",
    is_watched: bool = True,
) -> Made:
    """Take runs in, draw their nights, score what was drawn as the verdicts say, summarise and look for changes."""
    project = Project(settings(store, toml, model=model), store)
    lines = [orjson.dumps(document) for document in documents]
    tally = take(project, jsonl.read(_file(lines), now=NOW, limits=project.settings.intake), NOW, on_rejected=_refuse)
    assert tally.accepted == len(lines)
    with store.read() as connection:
        span = runs.night_span(connection)
    if span is not None:
        project.nights.first_tick(
            datetime(span[0].year, span[0].month, span[0].day, 12, tzinfo=UTC) + timedelta(days=1)
        )
        for night in nights_between(*span):
            draw_night(project, night, NOW)
        _score(project, verdict, rationale)
        finish(project, NOW)
        if is_watched:
            watch(project, NOW)
    return Made(project, store)


def _file(lines: Sequence[bytes]) -> Any:
    return io.BytesIO(b"\n".join(lines))


def _refuse(rejected: Any) -> None:
    raise AssertionError(rejected)


def _score(project: Project, verdict: Verdict, rationale: str) -> None:
    """Settle every job as the verdicts say; those without one stay open."""
    ledger = Ledger(project.store)
    registered = [entry for entry, _ in project.scorers.register()]
    names = {entry.pk: entry.key.name for entry in registered}
    for lane in ("heuristic", "judge"):
        own = [entry for entry in registered if entry.lane == lane]
        while own:
            claimed = ledger.claim(own, limit=5_000, now=NOW, lane=lane).jobs
            if not claimed:
                break
            settled = []
            for job, run_id in zip(claimed, ledger.ids(claimed), strict=True):
                said = verdict(names[job.scorer_pk], run_id)
                if said is not None:
                    settled.append(_settled(job, said, lane, rationale))
            ledger.settle(settled, now=NOW)


def _settled(job: Any, said: float | str, lane: str, rationale: str) -> Settled:
    value = said if isinstance(said, float | int) else None
    reason = said if isinstance(said, str) else None
    more: dict[str, Any] = {"rationale": rationale, "reason": reason}
    if lane == "judge":
        more |= {"model_requested": "a-judge", "model_served": "a-judge-0613", "cost_usd": 0.001}
        more |= {"input_tokens": 900, "output_tokens": 60}
    rows = [row(job, value=value, **more)]
    return Settled(job, "scored" if reason is None else "unscored", reason, 0.001 if lane == "judge" else 0.0, rows)
