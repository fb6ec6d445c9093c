"""What `GET /metrics` says: the queue, the judge, the money, how nights stand and the newest trend, from the store.

Made of two parts. The cheap one is read at most every five seconds. The dear one counts the jobs of two weeks; it is
read at most once a minute, and takes at most one part in twenty of the time. No text of a run and no secret is in
either; names are: of task types, scorers, models and lanes. What could grow without end is cut off, and how much was
is told.
"""

import hashlib
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from worker import __version__
from worker.core import calendar
from worker.errors import StoreError
from worker.project.project import Project
from worker.queries.status import EngineStatus, StatusReader
from worker.queries.trends import points_since
from worker.records import ScorerKey, TrendPoint
from worker.store import meta
from worker.store.health import LAST_TICK
from worker.store.queue import enrol, progress, rates
from worker.store.results import trends

FRESH_S, COUNT_S = 5.0, 60.0
_SHARE = 20
NIGHTS = 14
TRENDS_MOST, REASONS_MOST, MODELS_MOST = 100, 20, 50
_OTHER = "other"

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
LABEL_CHARS = 120
"""A longer label value is cut, and ends with a hash of the whole, so that two stay two."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CONTROLS = {code: 0x2400 + code for code in range(32)}
_CONTROLS |= dict.fromkeys((*range(0x7F, 0xA0), 0x2028, 0x2029), 0xFFFD)

Sample = tuple[Mapping[str, str], float]


class MetricsCollector:
    """The metrics of one installation, read from the store; any number of threads may ask for their text."""

    def __init__(self, project: Project, *, alone: AbstractContextManager[object] | None = None) -> None:
        """Nothing is read yet.

        Args:
            project: Whose figures. Its connections are closed after each reading.
            alone: Held while the database is read: no fork may come between.
        """
        self._project = project
        self._alone = alone or nullcontext()
        self._status = StatusReader(project)
        self._making = threading.Lock()
        self._made_at = self._count_at = float("-inf")
        self._text = b""
        self._counted: list[Metric] = []

    def text(self) -> bytes:
        """What to answer, a few seconds old at most. Where the database does not answer, it says so and no more."""
        with self._making:
            if time.monotonic() >= self._made_at + FRESH_S:
                with self._alone:
                    self._text = render(self._read())
                self._made_at = time.monotonic()
            return self._text

    def _read(self) -> list[Metric]:
        about = [_one("info", "The version that runs.", 1, version=__version__)]
        try:
            now = self._status.read()
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

    def _count(self, connection: Connection, now: EngineStatus) -> list[Metric]:
        since = now.day - timedelta(days=NIGHTS)
        outcomes = progress.outcomes(connection, since)
        keys = {entry.pk: entry.key for entry in enrol.registered(connection)}
        found = [
            _one("counted_timestamp_seconds", "When the figures of nights and weeks were read.", now.at.timestamp())
        ]
        return [*found, *_outcomes(outcomes, keys), *_trends(connection)]


_STORE_UP = "Whether the database answers; without it nothing else is told."


class _Collected(Collector):
    """Metrics that are read already, as a registry takes them; its own counters would know this process only."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return (metric for metric in self._metrics if metric.samples)


def render(metrics: Iterable[Metric]) -> bytes:
    r"""The text format of Prometheus, version 0.0.4. A metric without samples is left out.

    Example:
        >>> print(render([family("jobs", "Open jobs.", [({"lane": 'a"b'}, 2)])]).decode(), end="")
        # HELP spotcheck_jobs Open jobs.
        # TYPE spotcheck_jobs gauge
        spotcheck_jobs{lane="a\"b"} 2.0
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(metrics))
    return generate_latest(registry)


def _one(name: str, help_text: str, value: float, **labels: str) -> Metric:
    return family(name, help_text, [(labels, value)])


def family(name: str, help_text: str, samples: Iterable[Sample], kind: Literal["gauge", "counter"] = "gauge") -> Metric:
    """A metric with its series; of two with the same labels the first counts."""
    name = f"spotcheck_{name}"
    assert _NAME.fullmatch(name), name
    assert (kind == "counter") == name.endswith("_total"), name
    metric = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, help_text)
    shown = set()
    for labels, value in samples:
        cleaned = {label: clean_label(text) for label, text in labels.items()}
        if (key := tuple(sorted(cleaned.items()))) not in shown:
            shown.add(key)
            metric.add_sample(name, cleaned, value)
    return metric


def clean_label(text: str) -> str:
    r"""A label's value on one line and at most 120 characters long, whatever a name from outside holds.

    prometheus_client escapes quotes and backslashes, raises UnicodeEncodeError for a lone surrogate, and cuts nothing.

    Example:
        >>> clean_label("a\nb"), clean_label("\ud800"), len(clean_label("x" * 500))
        ('a␊b', '?', 120)
    """
    text = text.encode("utf-8", "replace").decode()
    if len(text) > LABEL_CHARS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        text = f"{text[: LABEL_CHARS - 10]}… {digest}"
    return text.translate(_CONTROLS)


def _left_out(what: str, count: int) -> Metric:
    return _one(f"{what}_left_out", f"So many {what} are not told, for there are too many.", max(0, count))


def _queue(now: EngineStatus) -> list[Metric]:
    jobs: Counter[tuple[str, str, str]] = Counter()
    for key, open_jobs in now.by_scorer:
        for state in ("due", "later", "leased", "lost"):
            jobs[open_jobs.lane, key.name, state] += getattr(open_jobs, state)
    ages = [
        ({"lane": lane}, max(0.0, (now.at - waiting.oldest_at).total_seconds()) if waiting.oldest_at else 0.0)
        for lane, waiting in now.lanes.items()
    ]
    return [
        family(
            "queue_jobs",
            "Open jobs: due, waiting out a back-off (later), under way (leased), held by a worker that is gone (lost).",
            (({"lane": lane, "scorer": name, "state": state}, n) for (lane, name, state), n in sorted(jobs.items())),
        ),
        family("queue_oldest_due_age_seconds", "Age of the oldest job that could be taken now; 0 without one.", ages),
    ]


def _judge(now: EngineStatus, ever: Mapping[str, rates.Calls]) -> list[Metric]:
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
    paused = (({"model": status.model}, int(status.trouble is not None)) for status in models)
    return [
        family(
            "judge_calls_total",
            "Calls that ended: answered, refused with 429, failed without an answer.",
            calls,
            "counter",
        ),
        *(
            family(
                name,
                help_text,
                (
                    ({"model": status.model}, value)
                    for status in models
                    if (value := getattr(status, field)) is not None
                ),
            )
            for name, help_text, field in gauges
        ),
        family("judge_paused", "1 while a judge refuses us or answers nobody; `spotcheck status` says why.", paused),
        _left_out("models", max(len(now.models), len(ever)) - MODELS_MOST),
    ]


def _money(now: EngineStatus, project: Project) -> list[Metric]:
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
        found.append(family(name, help_text, told))
    caps = (
        ("day", judge.budget_usd_per_day),
        ("month", judge.budget_usd_per_month),
        ("backfill_day", judge.backfill_usd_per_day),
    )
    told = (({"period": period}, usd) for period, usd in caps if usd is not None)
    own = [
        ({"scorer": budget.rubric or "", "period": period}, usd)
        for budget in now.capped
        for period, usd in (("day", budget.usd_per_day), ("month", budget.usd_per_month))
        if usd is not None
    ]
    months = [({"scorer": budget.rubric or ""}, budget.month.spent_usd) for budget in now.capped]
    return [
        *found,
        _one("spent_month_usd", "What judging cost in this calendar month.", now.month.spent_usd),
        _one("backfill_spent_today_usd", "What backfills cost today; included in the sum.", now.backfill.spent_usd),
        family("cap_usd", "What it may cost at most; absent without a budget.", told),
        family("rubric_spent_month_usd", "What a rubric with a cap of its own cost in this calendar month.", months),
        family("rubric_cap_usd", "What one rubric may cost at most; absent without a cap of its own.", own),
    ]


def _batches(now: EngineStatus) -> list[Metric]:
    states = Counter(batch.state for batch in now.batches)
    jobs = Counter[str]()
    for batch in now.batches:
        jobs[batch.state] += batch.jobs
    return [
        family("batches", "Batches on their way.", (({"state": state}, n) for state, n in sorted(states.items()))),
        family(
            "batch_jobs", "Jobs in batches on their way.", (({"state": state}, n) for state, n in sorted(jobs.items()))
        ),
    ]


def _processes(now: EngineStatus, last_tick: str | None) -> list[Metric]:
    alive = Counter(lane for row in now.workers for lane in row.lanes.split(","))
    lanes = sorted({*alive, *now.lanes, "control"})
    found = [
        family("workers_alive", "Workers seen in the last 45 s.", (({"lane": lane}, alive[lane]) for lane in lanes))
    ]
    if last_tick is not None:
        age_s = max(0.0, (now.at - datetime.fromisoformat(last_tick)).total_seconds())
        found.append(_one("last_tick_age_seconds", "Since beat was heard; it ticks every minute.", age_s))
    return found


def _outcomes(outcomes: Iterable[progress.Outcomes], keys: Mapping[int, ScorerKey]) -> list[Metric]:
    jobs: Counter[tuple[str, str, str]] = Counter()
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for outcome in outcomes:
        if (key := keys.get(outcome.scorer_pk)) is None:
            continue
        jobs[outcome.state, outcome.lane, key.name] += outcome.jobs
        if outcome.reason is not None:
            reasons.setdefault((key.name, outcome.state), Counter())[outcome.reason] += outcome.jobs
    by_reason = [
        ({"scorer": scorer, "state": state, "reason": reason}, n)
        for (scorer, state), counted in sorted(reasons.items())
        for reason, n in _most(counted, REASONS_MOST)
    ]
    return [
        family(
            "jobs",
            f"Jobs of the last {NIGHTS} nights, by how they stand.",
            (({"state": state, "lane": lane, "scorer": name}, n) for (state, lane, name), n in sorted(jobs.items())),
        ),
        family(
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


def _trends(connection: Connection) -> list[Metric]:
    week = trends.newest_week(connection)
    if week is None:
        return []
    points = points_since(connection, week)
    aggregate = [point for point in points if point.criterion is None and point.mean is not None]
    aggregate.sort(key=lambda point: (point.task_type is not None, -point.population))
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
            family(
                name,
                help_text,
                ((_stream(point), value) for point in shown if (value := getattr(point, field)) is not None),
            )
            for name, help_text, field in said
        ),
        _one("trend_week_timestamp_seconds", "Monday of the week of the means, as midnight UTC.", began),
        _left_out("trends", len(aggregate) - len(shown)),
    ]


def _told(points: Iterable[TrendPoint], field: str) -> list[Sample]:
    return [(_stream(point), value) for point in points if (value := getattr(point, field)) is not None]


def _stream(point: TrendPoint) -> Mapping[str, str]:
    task_type = {} if point.task_type is None else {"task_type": point.task_type}
    return {**task_type, "scorer": point.scorer, "scorer_version": point.scorer_version}
