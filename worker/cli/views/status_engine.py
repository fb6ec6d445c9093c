"""How `spotcheck status` shows the judge engine: queue, pace, trouble, batches, money; as screens and as JSON."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from worker.cli.output import inline
from worker.cli.process.health import NAMES
from worker.cli.table import TextTable
from worker.cli.views.columns import tables
from worker.cli.views.destinations import destination_lines
from worker.queries.status import AccountBalance, Backlog, Batch, EngineStatus, ModelStatus
from worker.records import ScorerKey
from worker.settings import Settings

ScreenPart = str | TextTable
_ALWAYS = ("heuristic", "judge")
"""Lanes that every project has; others are told where something waits in them."""
_NONE = "·"
_SHOWN = 0.0005
"""Smaller shares would be shown as nought."""
_BATCH = (
    *("model", "state", "jobs", "completed", "collected", "cost_usd", "server_state", "trouble"),
    *("created_at", "submitted_at", "deadline_at"),
)
_COUNTS = {
    "missing": "does not count the tokens of its answers: what they cost is not known, and what a budget reserved for "
    "each is charged",
    "contradictory": "counts tokens so that the counts contradict each other: charged is the most that they can mean",
}
_LONG_LABEL, _LONG_TROUBLE = 40, 200


def parts(now: EngineStatus, settings: Settings, room: int | None) -> Iterator[ScreenPart]:
    """The queue, the judge, what is in its way, batches, workers, and the money."""
    for lane, waiting in now.lanes.items():
        if lane in _ALWAYS or waiting.due + waiting.later + waiting.leased:
            yield _queue_line(lane, waiting, now.at)
    yield from _judge_tables(now, room)
    for model in now.models:
        if model.trouble is not None:
            yield from _trouble_lines(model, now)
        elif model.resumes_at is not None:
            yield f"judge {inline(model.model)} asked (429) to be left alone until {_clock(model.resumes_at, settings)}"
        if model.counts is not None and (model.spent.spent_usd or model.model in now.unpriced):
            yield f"judge {inline(model.model)} {_COUNTS.get(model.counts, model.counts)}"
    for batch in now.batches:
        yield _batch_line(batch, now.at)
    names = ", ".join(f"{worker.name} ({_lanes(worker.lanes)})" for worker in now.workers)
    yield f"workers {names}" if now.workers else "workers none seen alive; start one: spotcheck worker"
    yield from (f"  {worker.name}: {inline(worker.trouble)}" for worker in now.workers if worker.trouble)
    for destination in now.destinations:
        if destination.waiting or destination.trouble is not None:
            yield from destination_lines(destination, settings)
    yield from _money_lines(now, settings)


def _queue_line(lane: str, waiting: Backlog, at: datetime) -> str:
    name = NAMES.get(lane, lane)
    if not (waiting.due or waiting.later or waiting.leased):
        return f"queue {name:<10} nothing waits"
    oldest = "" if waiting.oldest_at is None else f", oldest {age((at - waiting.oldest_at).total_seconds())}"
    return (
        f"queue {name:<10} {waiting.due:,} due, {waiting.later:,} waiting out a back-off, "
        f"{waiting.leased:,} being scored{oldest}"
    )


def _judge_tables(now: EngineStatus, room: int | None) -> list[TextTable]:
    """A row for each model: how fast it is asked; and of several, what each has before it and what it cost."""
    if not now.models:
        return []
    shorts = [_short(model.model) for model in now.models]
    is_told_apart = len(set(shorts)) == len(shorts)
    names = {model.model: _short(model.model) if is_told_apart else inline(model.model) for model in now.models}
    pace = _columns({model.model: _pace_cells(model) for model in now.models})
    if len(names) == 1:  # its queue and its cost are told beside it
        return tables("judge", names, pace, room)
    work = _columns({model.model: _work_cells(model, now.at) for model in now.models})
    both = tables("judge", names, pace | work, room)
    return both if len(both) == 1 else tables("judge", names, pace, room) + tables("judge", names, work, room)


def _columns(rows: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    heads = next(iter(rows.values()))
    return {head: {name: cells[head] for name, cells in rows.items()} for head in heads}


def _pace_cells(model: ModelStatus) -> dict[str, str]:
    is_asked = model.processes > 0
    return {
        "calls/s": f"{model.calls_per_s:,.1f}" if is_asked else _NONE,
        "refused": _share(model.refused),
        "failed": _share(model.failed),
        "under way": f"{model.in_flight:,} of {model.limit:,}" if is_asked else _NONE,
        "in line": f"{model.waiting:,}" if model.waiting else _NONE,
        "most/s": f"{model.starts_per_s:,.1f}" if model.starts_per_s is not None else _NONE,
        "s/call": f"{model.latency_s:.2f}" if model.latency_s is not None else _NONE,
    }


def _work_cells(model: ModelStatus, at: datetime) -> dict[str, str]:
    queue = model.queue
    return {
        "due": f"{queue.due:,}" if queue.due else _NONE,
        "back-off": f"{queue.later:,}" if queue.later else _NONE,
        "leased": f"{queue.leased:,}" if queue.leased else _NONE,
        "oldest": _NONE if queue.oldest_at is None else age((at - queue.oldest_at).total_seconds()),
        "today": usd(model.spent.spent_usd) if any(model.spent) else _NONE,
    }


def _share(share: float | None) -> str:
    return _NONE if share is None or share < _SHOWN else f"{100 * share:.1f} %"


def _trouble_lines(model: ModelStatus, now: EngineStatus) -> Iterator[str]:
    """What is wrong and what to do, then what happens by itself."""
    yield f"PAUSED {inline(model.model)}: {_cut(inline(model.trouble or ''))}"
    since = "" if model.trouble_at is None else f"last tried {age((now.at - model.trouble_at).total_seconds())} ago"
    if not any("judge" in worker.lanes.split(",") for worker in now.workers):
        then = "no worker is alive to try again"
    elif model.resumes_at is not None:
        then = f"tried again in {age((model.resumes_at - now.at).total_seconds())}"
    else:
        then = "tried again with the next wake-up, every half minute"
    yield f"       {since}; {then}; the jobs wait, none has lost an attempt"


def _cut(said: str) -> str:
    """A server may say a whole page, with what to do behind it, which is kept; `--json` has more of it."""
    if len(said) <= _LONG_TROUBLE:
        return said
    _, semicolon, do = said.rpartition("; ")
    kept = f"; {do}" if semicolon and len(do) < _LONG_TROUBLE // 2 else ""
    return f"{said[: _LONG_TROUBLE - len(kept)]}…{kept}"


def _batch_line(batch: Batch, at: datetime) -> str:
    began = batch.submitted_at or batch.created_at
    left_s = (batch.deadline_at - at).total_seconds()
    due = f"due in {age(left_s)}" if left_s > 0 else f"overdue by {age(-left_s)}"
    said = f" ({inline(batch.server_state)[:_LONG_LABEL]})" if batch.server_state else ""
    trouble = f"; trouble: {_cut(inline(batch.trouble))}" if batch.trouble else ""
    return (
        f"batch {_short(batch.model)} {batch.state}{said}: {batch.completed:,} of {batch.jobs:,} answered, "
        f"{'sent' if batch.submitted_at else 'made'} {age((at - began).total_seconds())} ago, {due}{trouble}"
    )


def _money_lines(now: EngineStatus, settings: Settings) -> Iterator[str]:
    judge = settings.judge
    yield _account(
        "today", now.nightly, judge.budget_usd_per_day, inline(now.with_unpriced(usd(now.nightly.spent_usd)))
    )
    if judge.backfill_usd_per_day is not None or any(now.backfill):
        yield _account("today by backfills", now.backfill, judge.backfill_usd_per_day)
    if judge.budget_usd_per_month is not None:
        yield _account("this month", now.month, judge.budget_usd_per_month)
    for budget in now.capped:
        day = (
            [] if budget.usd_per_day is None else [f"{usd(budget.today.spent_usd)} of ${budget.usd_per_day:,.2f} today"]
        )
        month = (
            []
            if budget.usd_per_month is None
            else [f"{usd(budget.month.spent_usd)} of ${budget.usd_per_month:,.2f} this month"]
        )
        yield f"  {inline(budget.rubric or '')} {', '.join([*day, *month])}"
    accounts = sorted(now.spent_by, key=lambda account: -account.spent.spent_usd)
    if len(accounts) > 1:
        keys = [account.key for account in accounts]
        told = [f"{_scorer(account.key, keys)} {usd(account.spent.spent_usd)}" for account in accounts]
        yield f"  {' · '.join(told)}"


def _account(when: str, spent: AccountBalance, cap_usd: float | None, shown: str = "") -> str:
    of = "" if cap_usd is None else f" of ${cap_usd:,.2f}"
    presumed = f", {usd(spent.presumed_usd)} of it presumed (calls of workers that died)" if spent.presumed_usd else ""
    return f"spent {when} {shown or usd(spent.spent_usd)}{of}, reserved {usd(spent.reserved_usd)}{presumed}"


def _scorer(key: ScorerKey | None, all_keys: list[ScorerKey | None]) -> str:
    """A scorer's name; of several of one name with the model, or the version where that is the same."""
    if key is None:
        return "(before accounts by scorer)"
    same = [other for other in all_keys if other is not None and other.name == key.name]
    if len(same) == 1:
        return inline(key.name)
    models = [other.spec.get("model") for other in same]
    return inline(f"{key.name} {_short(str(models[same.index(key)])) if len(set(models)) == len(same) else key.series}")


def _short(model: str) -> str:
    return inline(model.rpartition("/")[2] or model)[:_LONG_LABEL]


def _lanes(stored: str) -> str:
    return ",".join(NAMES.get(lane, lane) for lane in stored.split(","))


def _clock(at: datetime, settings: Settings) -> str:
    return f"{at.astimezone(settings.zone):%H:%M:%S}"


def usd(amount: float) -> str:
    """An amount of money, US dollars; small ones to a hundredth of a cent."""
    return f"${amount:,.4f}" if abs(amount) < 100 else f"${amount:,.2f}"


def age(seconds: float) -> str:
    """How long, in the largest unit that it has."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def answer(now: EngineStatus, settings: Settings) -> dict[str, Any]:
    """The same for `--json`. Names and units stay as they are; docs/watching.md says what each means."""
    judge = settings.judge
    return {
        "at": now.at,
        "queue": {lane: waiting._asdict() for lane, waiting in now.lanes.items()},
        "workers": [worker._asdict() for worker in now.workers],
        "spend_usd": now.spent.spent_usd,
        "reserved_usd": now.spent.reserved_usd,
        "judge": {
            "is_configured": settings.is_judge_configured,
            "models": [_model_answer(model) for model in now.models],
        },
        "batches": [{name: getattr(batch, name) for name in _BATCH} for batch in now.batches],
        "spend": {
            "day": now.day,
            **now.spent._asdict(),
            "cap_usd": judge.budget_usd_per_day,
            "nightly": now.nightly._asdict(),
            "backfill": {**now.backfill._asdict(), "cap_usd": judge.backfill_usd_per_day},
            "month": {**now.month._asdict(), "cap_usd": judge.budget_usd_per_month},
            "rubrics": [
                budget._asdict() | {"today": budget.today._asdict(), "month": budget.month._asdict()}
                for budget in now.capped
            ],
            "by_scorer": [
                {
                    "scorer": None if account.key is None else account.key.name,
                    "scorer_version": None if account.key is None else account.key.series,
                    "model": None if account.key is None else account.key.spec.get("model"),
                    **account.spent._asdict(),
                }
                for account in now.spent_by
            ],
        },
    }


def _model_answer(model: ModelStatus) -> dict[str, Any]:
    fields = model._asdict()
    return {**fields, "queue": model.queue._asdict(), "spent": model.spent._asdict()}
