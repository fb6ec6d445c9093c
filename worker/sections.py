"""The tables of `spotcheck.toml`: what may stand in each, its default and its bounds."""

import re
from collections.abc import Iterator, Mapping
from datetime import time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

Probability = Annotated[float, Field(ge=0, le=1)]


def _clock_time(value: object) -> time:
    if isinstance(value, time):
        return value  # TOML has times of its own
    if isinstance(value, str) and re.fullmatch(r"\d{1,2}:\d{2}", value):
        hour, minute = value.split(":")
        if int(hour) <= 23 and int(minute) <= 59:
            return time(int(hour), int(minute))
    raise ValueError('not a time of day; write it like "02:00"')


def _listen(address: str | None) -> str | None:
    if address is not None and listen_address(address) is None:
        raise ValueError('not an address; write it like "127.0.0.1:9464"')
    return address


def listen_address(address: str) -> tuple[str, int] | None:
    """Host and port of an address to listen at; None where it is none.

    Example:
        >>> listen_address("127.0.0.1:9464"), listen_address("[::1]:9464"), listen_address(":9464")
        (('127.0.0.1', 9464), ('::1', 9464), None)
    """
    found = re.fullmatch(r"(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]{1,253})):(?P<port>[0-9]{1,5})", address)
    if found is None or not 0 < int(found["port"]) < 65_536:
        return None
    return found["ipv6"] or found["host"], int(found["port"])


def _json_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse what is no JSON Schema, with the path inside it; else each run would be told, and none scored."""
    import jsonschema  # most projects have no schema, and need not wait for it
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        resolver = EMPTY_REGISTRY.resolver_with_root(DRAFT202012.create_resource(schema))
        for where, reference in _references(schema, ""):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                raise ValueError(f"{where}: {reference!r} leads nowhere in this schema") from None
    except jsonschema.SchemaError as error:
        where = "".join(f".{part}" for part in error.absolute_path)
        raise ValueError(f"{where}: {error.message[:200]}") from None
    except RecursionError:
        raise ValueError(": nested too deeply") from None
    return schema


def _references(node: object, where: str) -> Iterator[tuple[str, str]]:
    """Every `$ref` of a schema with its place, but not those in values that a schema only names."""
    if isinstance(node, Mapping):
        if isinstance(node.get("$ref"), str):
            yield f"{where}.$ref", node["$ref"]
        for key, value in node.items():
            if key not in ("const", "enum", "default", "examples"):
                yield from _references(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _references(value, f"{where}.{index}")


def _names(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if twice := [name for name in names or () if (names or ()).count(name) > 1]:
        raise ValueError(f"{twice[0]!r} stands twice")
    return names


class Section(BaseModel):
    """A table of `spotcheck.toml`; an unknown key is an error, so that a typo cannot pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false are not allowed here")
        return value


class TaskTypeSampling(Section):
    """Rates of one task type; what is not given comes from `[sampling]`."""

    rate: Probability | None = None
    """Probability that an unflagged run of this task type is drawn, 0..1."""
    flagged_rate: Probability | None = None
    """Probability that a flagged run of this task type is drawn, 0..1."""
    floor_per_night: int | None = Field(default=None, ge=0, le=10_000)
    """Runs a night drawn at least from each of this task type's two strata."""


class SamplingSection(Section):
    """How many runs are drawn for scoring."""

    rate: Probability = 0.05
    """Probability that an unflagged run is drawn, 0..1."""
    flagged_rate: Probability = 0.25
    """Probability that a flagged run (errored, aborted, outlier, tool error, repeated call) is drawn, 0..1."""
    floor_per_night: int = Field(default=3, ge=0, le=10_000)
    """Runs a night drawn at least from each stratum (task type, flagged or not), where there are so many."""
    lookback_nights: int = Field(default=3, ge=0, le=60)
    """Drawn nights that are looked at again for late runs."""
    task_types: Mapping[str, TaskTypeSampling] = Field(default_factory=dict)
    """Rates of single task types."""

    def policy(self, task_type: str, *, flagged: bool) -> tuple[float, int]:
        """Rate and floor of a stratum."""
        own = self.task_types.get(task_type, TaskTypeSampling())
        rate = own.flagged_rate if flagged else own.rate
        if rate is None:
            rate = self.flagged_rate if flagged else self.rate
        return rate, self.floor_per_night if own.floor_per_night is None else own.floor_per_night


class ScoringSection(Section):
    """What drawn runs are scored with."""

    heuristics: Annotated[tuple[str, ...] | None, AfterValidator(_names)] = None
    """Names of heuristics; all when not given."""
    rubrics: Annotated[tuple[str, ...], AfterValidator(_names)] = ("task_completion",)
    """Names of rubrics in `prompts/`."""
    max_attempts: int = Field(default=8, ge=1, le=100)
    """Times a job is tried before it counts as failed."""
    lease_s: float = Field(default=90, ge=5, le=3600)
    """Seconds after which others take over what a worker that is gone had claimed; the living renew at a third."""
    redact: bool = True
    """Keys, tokens, e-mail addresses and card numbers are blanked before a run leaves for a judge."""
    schemas: Mapping[str, Annotated[Mapping[str, Any], AfterValidator(_json_schema)]] = Field(default_factory=dict)
    """JSON Schema of the output, by task type, for the `valid_json` heuristic."""


TIER_PRICES: Mapping[str, float] = {"flex": 0.5, "batch": 0.5, "priority": 2.0}
"""Of OpenAI's list price; priority costs 1.7 to 2 times as much, by model."""


class ModelPrice(Section):
    """What a model costs, US dollars per million tokens; overrides the built-in table."""

    input_usd_per_mtok: float = Field(ge=0)
    """US dollars per million tokens sent."""
    output_usd_per_mtok: float = Field(ge=0)
    """US dollars per million tokens answered."""
    cached_input_usd_per_mtok: float | None = Field(default=None, ge=0)
    """US dollars per million tokens sent that the server had in its cache; as others when not given."""


class RubricBudget(Section):
    """What one rubric may spend, all its versions together; the caps of all judging hold beside it."""

    usd_per_day: float | None = Field(default=None, ge=0)
    """In a calendar day of the clock, replays included, US dollars; none by default."""
    usd_per_month: float | None = Field(default=None, ge=0)
    """In a calendar month of the clock, US dollars; none by default."""


class ModelQuota(Section):
    """A quota of one model; what is not given comes from `[judge.quota]`."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests that all workers together may send to this model in a minute."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Tokens, read and written, of this model in a minute."""


class JudgeQuota(Section):
    """Hard limits of the account, known beforehand; without them the pace is found by trying."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests that all workers together may send to one model in a minute; none by default."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Tokens, read and written, of one model in a minute; none by default."""
    models: Mapping[str, ModelQuota] = Field(default_factory=dict)
    """Quotas of single models."""

    def of(self, model: str) -> ModelQuota | None:
        """The quota of a model; None without one."""
        own = self.models.get(model, ModelQuota())
        requests, tokens = (
            mine if mine is not None else general
            for mine, general in (
                (own.requests_per_minute, self.requests_per_minute),
                (own.tokens_per_minute, self.tokens_per_minute),
            )
        )
        if requests is None and tokens is None:
            return None
        return ModelQuota(requests_per_minute=requests, tokens_per_minute=tokens)


class BatchPolicy(Section):
    """How the batch lane is used: questions that are answered within a day, at a discount."""

    deadline_h: float = Field(default=24, gt=0, le=168)
    """Hours after which what a batch has not answered is asked at once."""
    gather_s: float = Field(default=300, ge=0, le=86_400)
    """Seconds that the oldest job waits for company before a batch is made, however few there are."""
    max_jobs: int = Field(default=10_000, ge=1, le=25_000)
    """Jobs of one batch; there may be several at a time."""
    max_bytes: int = Field(default=50_000_000, ge=100_000, le=200_000_000)
    """Bytes of one batch's questions; servers take 200 MB, and a worker is told to stop while it sends them."""
    poll_s: float = Field(default=30, gt=0, le=3600)
    """Shortest time between two looks at a running batch, seconds; one that takes longer is looked at less often."""


JudgeLane = Literal["now", "batch"]


class JudgeSection(Section):
    """The judge's model, endpoint and budget."""

    model: str | None = None
    """Model that judges. Env: SPOTCHECK_JUDGE_MODEL."""
    base_url: str | None = None
    """Base URL of an OpenAI-compatible server. Env: OPENAI_BASE_URL."""
    concurrency: int = Field(default=16, ge=1, le=1024)
    """Calls in flight per worker process. Env: SPOTCHECK_JUDGE_CONCURRENCY."""
    timeout_s: float = Field(default=60, gt=0, le=3600)
    """Longest wait for one answer, seconds."""
    answers_days: int = Field(default=7, ge=0, le=365)
    """Days for which an answer is kept, so that the very same question is not paid twice; 0 keeps none. A week holds
    what a rubric with another threshold, a replay or a backfill asks again; a model behind a name may change after."""
    budget_usd_per_day: float | None = Field(default=None, ge=0)
    """What scoring may spend in a calendar day of the clock, replays included, US dollars; none by default."""
    budget_usd_per_month: float | None = Field(default=None, ge=0)
    """The same in a calendar month of the clock, US dollars; none by default."""
    budgets: Mapping[str, RubricBudget] = Field(default_factory=dict)
    """Caps of single rubrics, by name."""
    quota: JudgeQuota = JudgeQuota()
    """Hard limits of the account, shared by all workers."""
    repair: bool = False
    """Ask once more when an answer is not the agreed JSON and the server enforces none; reserves twice the money."""
    unknown_price: Literal["allow", "refuse"] | None = None
    """A model without a known price: with a budget set it is refused unless allowed here."""
    prices: Mapping[str, ModelPrice] = Field(default_factory=dict)
    """Prices by model."""
    tier_prices: Annotated[
        Mapping[str, Annotated[float, Field(ge=0, le=100)]], AfterValidator(lambda own: {**TIER_PRICES, **own})
    ] = Field(default_factory=dict, validate_default=True)
    """What a service tier costs, as a multiple of the model's price."""
    lane: JudgeLane = "now"
    """How new nights are judged: now, or in batches, which cost half and take up to a day."""
    backfill_lane: JudgeLane | None = None
    """The same for nights of long ago and for replays; as `lane` when not given."""
    lanes: Mapping[str, JudgeLane] = Field(default_factory=dict)
    """Rubrics that go another way than `lane` says, for new nights and old ones."""
    batch: BatchPolicy = BatchPolicy()
    """How the batch lane is used."""

    def lane_of(self, rubric: str, *, is_backfill: bool) -> JudgeLane:
        """How a rubric's jobs are asked."""
        usual = self.backfill_lane or self.lane if is_backfill else self.lane
        return self.lanes.get(rubric, usual)

    @property
    def has_budget(self) -> bool:
        """Whether scoring may not spend whatever it costs."""
        return any(self.is_capped(name) for name in ("", *self.budgets))

    def is_capped(self, rubric: str) -> bool:
        """Whether scoring by a rubric may not spend whatever it costs."""
        own = self.budgets.get(rubric, RubricBudget())
        caps = (self.budget_usd_per_day, self.budget_usd_per_month, own.usd_per_day, own.usd_per_month)
        return any(cap is not None for cap in caps)


class ScheduleSection(Section):
    """When the night is drawn."""

    at: Annotated[time, BeforeValidator(_clock_time)] = time(2, 0)
    """Local time of the nightly draw, HH:MM."""
    time_zone: str = "UTC"
    """Time zone that nights and weeks are counted in."""

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("no such time zone; write it like Europe/Berlin") from error
        return name


class AlertsSection(Section):
    """How often chance may raise an alarm, and what is told at once."""

    false_alarms_per_year: float = Field(default=2.0, gt=0, le=365)
    """False drift findings a year that are accepted, for the whole project."""
    run_cost_usd: float | None = Field(default=None, ge=0)
    """The agent's cost of one run above which it is told at once, US dollars."""
    agent_daily_spend_usd: float | None = Field(default=None, ge=0)
    """The agents' spend in a day above which it is told, US dollars."""
    send: Literal["all", "now"] = "all"
    """What leaves through the webhook: every alert, or only those told now; the weekly review's stay in the list."""


class TaskTypeRules(Section):
    """How a task type is found for sources that do not say it."""

    rules: tuple[str, ...] = ("attribute:task.type", "tag:task", "agent")
    """Tried in order; the first that gives a value wins."""
    default: str = "default"
    """When no rule does."""


class IntakeSection(Section):
    """Limits on what comes from outside."""

    max_line_bytes: int = Field(default=16_000_000, ge=1_000, le=1_000_000_000)
    """Longest line of a run file, bytes; a longer one is rejected."""
    max_text_chars: int = Field(default=1_000_000, ge=1_000)
    """Input and output are cut at this many characters."""
    max_result_chars: int = Field(default=64_000, ge=100)
    """A step's result is cut at this many characters; its full size and hash are kept."""
    max_steps: int = Field(default=5_000, ge=1)
    """Steps kept of one run; the middle is left out beyond it."""


class StoreSection(Section):
    """How long things are kept."""

    traces_days: int = Field(default=30, ge=1)
    """Days a run's texts and steps are kept after they were received; never pruned while undecided."""


class MetricsSection(Section):
    """Figures for a monitoring system."""

    listen: Annotated[str | None, AfterValidator(_listen)] = None
    """Where the process of the control queue answers `GET /metrics` as Prometheus has it, `HOST:PORT`; nowhere by
    default. Env: SPOTCHECK_METRICS."""
