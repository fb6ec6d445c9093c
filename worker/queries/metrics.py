"""What `GET /metrics` says: the queue, the judge, the money, how nights stand and the newest trend, from the store.

Made of two parts. The cheap one is read at most every five seconds. The dear one counts the jobs of two weeks; it is
read at most once a minute, and takes at most one part in twenty of the time. No text of a run and no secret is in
either; names are: of task types, scorers, models and lanes. What could grow without end is cut off, and how much was
is told.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, RowMapping

from worker import __version__
from worker.core import calendar
from worker.errors import StoreError
from worker.project.project import Project
from worker.queries.status import EngineStatus, StatusReader
from worker.records import ScorerKey
from worker.render.prometheus import Family, render
from worker.store import meta
from worker.store.health import LAST_TICK
from worker.store.queue import enrol, progress, rates
from worker.store.results import trends

FRESH_S, COUNT_S = 5.0, 60.0
_SHARE = 20
NIGHTS = 14
TRENDS_MOST, REASONS_MOST, MODELS_MOST = 100, 20, 50
_OTHER = "other"

Sample = tuple[Mapping[str, str], float]


class MetricsCollector:
    """The text of one installation; any number of threads may ask."""

    def __init__(self, project: Project, *, alone: AbstractContextManager[object] | None = None) -> None:
        """Nothing is read yet.

        Args:
            project: Whose figures. Its connections are closed after each reading.
            alone: Held while the database is read: no fork may come between.
        """
        self._project = project
        self._alone = alone or nullcontext()
        self._watcher = StatusReader(project)
        self._making = threading.Lock()
        self._made_at = self._count_at = float("-inf")
        self._text = b""
        self._counted: list[Family] = []

    def text(self) -> bytes:
        """What to answer, a few seconds old at most. Where the database does not answer, it says so and no more."""
        with self._making:
            if time.monotonic() >= self._made_at + FRESH_S:
                with self._alone:
                    self._text = render(self._families())
                self._made_at = time.monotonic()
            return self._text

    def _families(self) -> list[Family]:
        about = [_one("info", "The version that runs.", 1, version=__version__)]
        try:
            now = self._watcher.look()
            with self._project.store.read() as connection:
                cheap = [
                    *_queue(now),
                    *_judge(now, rates.total_calls(connection)),
                    *_money(now, self._project),
                    *_batches(now),
                ]
                cheap += _processes(now, meta.get_meta(connection, LAST_TICK))
                began = time.monotonic()
                if began >= self._count_at:
                    self._counted = self._count(connection, now)
                    self._count_at = began + max(COUNT_S, _SHARE * (time.monotonic() - began))
        except StoreError:
            return [*about, _one("store_up", _STORE_UP, 0)]
        finally:
            self._project.store.close()
        return [*about, _one("store_up", _STORE_UP, 1), *cheap, *self._counted]

    def _count(self, connection: Connection, now: EngineStatus) -> list[Family]:
        since = now.day - timedelta(days=NIGHTS)
        outcomes = progress.outcomes(connection, since)
        keys = {one.pk: one.key for one in enrol.registered(connection)}
        found = [
            _one("counted_timestamp_seconds", "When the figures of nights and weeks were read.", now.at.timestamp())
        ]
        return [*found, *_outcomes(outcomes, keys), *_trends(connection)]


_STORE_UP = "Whether the database answers; without it nothing else is told."


def _name(name: str) -> str:
    return f"spotcheck_{name}"


def _one(name: str, help_text: str, value: float, **labels: str) -> Family:
    return Family(_name(name), "gauge", help_text, [(labels, value)])


def _family(
    name: str, help_text: str, samples: Iterable[Sample], kind: Literal["gauge", "counter"] = "gauge"
) -> Family:
    return Family(_name(name), kind, help_text, list(samples))


def _left_out(what: str, count: int) -> Family:
    return _one(f"{what}_left_out", f"So many {what} are not told, for there are too many.", max(0, count))


def _queue(now: EngineStatus) -> list[Family]:
    jobs: Counter[tuple[str, str, str]] = Counter()
    for key, one in now.by_scorer:
        for state in ("due", "later", "leased", "lost"):
            jobs[one.lane, key.name, state] += getattr(one, state)
    ages = [
        ({"lane": lane}, max(0.0, (now.at - waiting.oldest_at).total_seconds()) if waiting.oldest_at else 0.0)
        for lane, waiting in now.lanes.items()
    ]
    return [
        _family(
            "queue_jobs",
            "Open jobs: due, waiting out a back-off (later), under way (leased), held by a worker that is gone (lost).",
            (({"lane": lane, "scorer": name, "state": state}, n) for (lane, name, state), n in sorted(jobs.items())),
        ),
        _family("queue_oldest_due_age_seconds", "Age of the oldest job that could be taken now; 0 without one.", ages),
    ]


def _judge(now: EngineStatus, ever: Mapping[str, rates.Calls]) -> list[Family]:
    models = now.models[:MODELS_MOST]
    calls = [
        ({"model": model, "outcome": outcome}, getattr(counts, outcome))
        for model, counts in sorted(ever.items())[:MODELS_MOST]
        for outcome in rates.Calls._fields
    ]
    gauges = (
        ("judge_in_flight", "Calls under way.", "in_flight"),
        ("judge_in_line", "Calls that are ready and wait for their turn.", "waiting"),
        ("judge_limit", "Calls that may be under way, as found by trying.", "limit"),
        ("judge_processes", "Worker processes that asked in the last seconds.", "processes"),
        ("judge_starts_per_second_limit", "Calls that may start; absent while nothing bounds them.", "starts_per_s"),
        ("judge_latency_seconds", "Of an answer, lately; absent where nobody asks.", "latency_s"),
    )
    paused = (({"model": one.model}, int(one.trouble is not None)) for one in models)
    return [
        _family(
            "judge_calls_total",
            "Calls that ended: answered, refused with 429, failed without an answer.",
            calls,
            "counter",
        ),
        *(
            _family(
                name,
                help_text,
                (({"model": one.model}, value) for one in models if (value := getattr(one, field)) is not None),
            )
            for name, help_text, field in gauges
        ),
        _family("judge_paused", "1 while a judge refuses us or answers nobody; `spotcheck status` says why.", paused),
        _left_out("models", max(len(now.models), len(ever)) - MODELS_MOST),
    ]


def _money(now: EngineStatus, project: Project) -> list[Family]:
    judge = project.settings.judge
    accounts = (
        ("spent_today_usd", "What judging cost today, in the schedule's time zone.", "spent_usd"),
        ("reserved_usd", "What calls under way may cost at most.", "reserved_usd"),
        ("presumed_today_usd", "What of today's is presumed, since the worker died in the call.", "presumed_usd"),
    )
    found = []
    for name, help_text, field in accounts:
        amounts: defaultdict[tuple[str, str], float] = defaultdict(float)
        for key, spent in now.spent_by:
            owner = ("", "") if key is None else (key.name, str(key.spec.get("model") or ""))
            amounts[owner] += getattr(spent, field)
        told = (({"scorer": scorer, "model": model}, usd) for (scorer, model), usd in sorted(amounts.items()))
        found.append(_family(name, help_text, told))
    caps = (("day", judge.budget_usd_per_day), ("month", judge.budget_usd_per_month))
    told = (({"period": period}, usd) for period, usd in caps if usd is not None)
    own = [
        ({"scorer": one.rubric or "", "period": period}, usd)
        for one in now.capped
        for period, usd in (("day", one.usd_per_day), ("month", one.usd_per_month))
        if usd is not None
    ]
    months = [({"scorer": one.rubric or ""}, one.month.spent_usd) for one in now.capped]
    return [
        *found,
        _one("spent_month_usd", "What judging cost in this calendar month.", now.month.spent_usd),
        _family("cap_usd", "What it may cost at most; absent without a budget.", told),
        _family("rubric_spent_month_usd", "What a rubric with a cap of its own cost in this calendar month.", months),
        _family("rubric_cap_usd", "What one rubric may cost at most; absent without a cap of its own.", own),
    ]


def _batches(now: EngineStatus) -> list[Family]:
    states = Counter(batch.state for batch in now.batches)
    jobs = Counter[str]()
    for batch in now.batches:
        jobs[batch.state] += batch.jobs
    return [
        _family("batches", "Batches on their way.", (({"state": state}, n) for state, n in sorted(states.items()))),
        _family(
            "batch_jobs", "Jobs in batches on their way.", (({"state": state}, n) for state, n in sorted(jobs.items()))
        ),
    ]


def _processes(now: EngineStatus, last_tick: str | None) -> list[Family]:
    alive = Counter(lane for row in now.workers for lane in str(row["lanes"]).split(","))
    lanes = sorted({*alive, *now.lanes, "control"})
    found = [
        _family("workers_alive", "Workers seen in the last 45 s.", (({"lane": lane}, alive[lane]) for lane in lanes))
    ]
    if last_tick is not None:
        age_s = max(0.0, (now.at - datetime.fromisoformat(last_tick)).total_seconds())
        found.append(_one("last_tick_age_seconds", "Since beat was heard; it ticks every minute.", age_s))
    return found


def _outcomes(outcomes: Iterable[progress.Outcomes], keys: Mapping[int, ScorerKey]) -> list[Family]:
    jobs: Counter[tuple[str, str, str]] = Counter()
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for one in outcomes:
        if (key := keys.get(one.scorer_pk)) is None:
            continue
        jobs[one.state, one.lane, key.name] += one.jobs
        if one.reason is not None:
            reasons.setdefault((key.name, one.state), Counter())[one.reason] += one.jobs
    by_reason = [
        ({"scorer": scorer, "state": state, "reason": reason}, n)
        for (scorer, state), counted in sorted(reasons.items())
        for reason, n in _most(counted, REASONS_MOST)
    ]
    return [
        _family(
            "jobs",
            f"Jobs of the last {NIGHTS} nights, by how they stand.",
            (({"state": state, "lane": lane, "scorer": name}, n) for (state, lane, name), n in sorted(jobs.items())),
        ),
        _family(
            "jobs_by_reason",
            f"Jobs of the last {NIGHTS} nights without a score, by the reason's first words.",
            by_reason,
        ),
    ]


def _most(counted: Counter[str], most: int) -> Iterable[tuple[str, int]]:
    """The most frequent, and the others together."""
    top = counted.most_common(most)
    yield from top
    if rest := counted.total() - sum(n for _, n in top):
        yield _OTHER, rest


def _trends(connection: Connection) -> list[Family]:
    week = trends.newest_week(connection)
    if week is None:
        return []
    points = trends.points(connection, dimension="task_type", scorer_name=None, task_type=None, since_week=week)
    aggregate = [point for point in points if point["criterion"] is None and point["mean"] is not None]
    aggregate.sort(key=lambda point: (point["task_type"] is not None, -point["population"]))
    shown = aggregate[:TRENDS_MOST]
    monday = calendar.nights_of_week(week)[0]
    began = datetime(monday.year, monday.month, monday.day, tzinfo=UTC).timestamp()
    said = (
        ("trend_mean", "Newest weekly mean, 0..1; without a task type over all of them, at the reference mix.", "mean"),
        ("trend_low", "Lower end of its 95 % interval.", "low"),
        ("trend_high", "Upper end of its 95 % interval.", "high"),
        ("trend_scored", "Scored runs behind it.", "scored"),
    )
    return [
        *(
            _family(name, help_text, ((_stream(point), point[field]) for point in shown if point[field] is not None))
            for name, help_text, field in said
        ),
        _one("trend_week_timestamp_seconds", "Monday of the week of the means, as midnight UTC.", began),
        _left_out("trends", len(aggregate) - len(shown)),
    ]


def _stream(point: RowMapping) -> Mapping[str, str]:
    task_type = {} if point["task_type"] is None else {"task_type": point["task_type"]}
    return {**task_type, "scorer": point["scorer"], "scorer_version": point["scorer_version"]}
