"""One frozen `Settings.read(environ, toml)`: addresses and secrets from the environment, policy from `spotcheck.toml`.

Pure: the environment is an argument. Each door calls it once and hands the value down; nobody imports it as a global.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from worker.clock import REAL, Clock, read_clock
from worker.clock import VARIABLE as CLOCK
from worker.errors import SettingsError

Probability = Annotated[float, Field(ge=0, le=1)]


def _clock_time(value: object) -> time:
    if isinstance(value, time):
        return value  # TOML has times of its own
    if isinstance(value, str) and re.fullmatch(r"\d{1,2}:\d{2}", value):
        hour, minute = value.split(":")
        if int(hour) <= 23 and int(minute) <= 59:
            return time(int(hour), int(minute))
    raise ValueError('not a time of day; write it like "02:00"')


def _broker(url: SecretStr) -> SecretStr:
    scheme, _, rest = url.get_secret_value().partition("://")
    if scheme not in _BROKERS or (scheme == "filesystem" and not rest):
        raise ValueError("not a broker; write redis://HOST:6379/0, filesystem://FOLDER or memory://")
    return url


def _database(url: SecretStr) -> SecretStr:
    if re.fullmatch(r"sqlite(\+\w+)?:(//)?(/(:memory:)?)?", url.get_secret_value()):
        raise ValueError("a database in memory would be gone after each command; write sqlite:///FILE")
    return url


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


_BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp", "sqs", "filesystem", "memory")
"""Celery's transports that a message of a few bytes may go through."""


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


class Sampling(Section):
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


class Scoring(Section):
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


class Judge(Section):
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


class Schedule(Section):
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


class Alerts(Section):
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


class Intake(Section):
    """Limits on what comes from outside."""

    max_line_bytes: int = Field(default=16_000_000, ge=1_000, le=1_000_000_000)
    """Longest line of a run file, bytes; a longer one is rejected."""
    max_text_chars: int = Field(default=1_000_000, ge=1_000)
    """Input and output are cut at this many characters."""
    max_result_chars: int = Field(default=64_000, ge=100)
    """A step's result is cut at this many characters; its full size and hash are kept."""
    max_steps: int = Field(default=5_000, ge=1)
    """Steps kept of one run; the middle is left out beyond it."""


class Store(Section):
    """How long things are kept."""

    traces_days: int = Field(default=30, ge=1)
    """Days a run's texts and steps are kept after they were received; never pruned while undecided."""


class Metrics(Section):
    """Figures for a monitoring system."""

    listen: Annotated[str | None, AfterValidator(_listen)] = None
    """Where the process of the control queue answers `GET /metrics` as Prometheus has it, `HOST:PORT`; nowhere by
    default. Env: SPOTCHECK_METRICS."""


class Value(NamedTuple):
    """One setting as `spotcheck settings` prints it."""

    name: str
    value: str
    source: str
    """`env NAME`, `spotcheck.toml`, or `default`."""
    help: str


_ENV = {
    "SPOTCHECK_DATABASE_URL": ("database_url",),
    "SPOTCHECK_BROKER_URL": ("broker_url",),
    "SPOTCHECK_PROMPTS": ("prompts",),
    "SPOTCHECK_JUDGE_MODEL": ("judge", "model"),
    "SPOTCHECK_JUDGE_CONCURRENCY": ("judge", "concurrency"),
    "SPOTCHECK_SETTLE_S": ("settle_s",),
    "SPOTCHECK_METRICS": ("metrics", "listen"),
    "SPOTCHECK_LOG": ("log",),
    CLOCK: ("clock",),
    "SPOTCHECK_WEBHOOK_URL": ("webhook_url",),
    "SPOTCHECK_WEBHOOK_SECRET": ("webhook_secret",),
    "OPENAI_API_KEY": ("openai_api_key",),
    "OPENAI_BASE_URL": ("judge", "base_url"),
}


_ADDRESSES = (("database_url",), ("broker_url",), ("webhook_url",), ("webhook_secret",), ("openai_api_key",))
"""Never read from a file, which may lie in a repository."""
_ENV_ONLY = (*_ADDRESSES, ("clock",))
"""A rehearsal's clock in a file would be left on."""


class Settings(Section):
    """Every setting, with unit and default."""

    database_url: Annotated[SecretStr, AfterValidator(_database)] = SecretStr("sqlite:///spotcheck.db")
    """The store: `sqlite:///FILE` or `postgresql://…`. Env: SPOTCHECK_DATABASE_URL."""
    broker_url: Annotated[SecretStr, AfterValidator(_broker)] | None = None
    """Celery's broker: `redis://…`, `filesystem://FOLDER`, `memory://`; a folder beside the database when not given.
    Env: SPOTCHECK_BROKER_URL."""
    prompts: str | None = None
    """Folder of your rubrics, laid over the shipped ones; `./prompts` when it exists. Env: SPOTCHECK_PROMPTS."""
    webhook_url: SecretStr | None = None
    """Where alerts are sent, signed, as JSON; its path may be a secret. Env: SPOTCHECK_WEBHOOK_URL."""
    webhook_secret: SecretStr | None = None
    """Signs what is sent, as Standard Webhooks has it. Env: SPOTCHECK_WEBHOOK_SECRET."""
    openai_api_key: SecretStr | None = None
    """The judge's key. Env: OPENAI_API_KEY only, never a file."""
    settle_s: float = Field(default=600, ge=0)
    """Seconds without news after which a run sent in spans counts as ended. Env: SPOTCHECK_SETTLE_S."""
    log: Literal["text", "json"] = "text"
    """Log lines of worker, beat and up: for people, or one JSON object each. Env: SPOTCHECK_LOG."""
    clock: Annotated[Clock, BeforeValidator(read_clock)] = REAL
    """The time nights are counted by: real, or a rehearsal's, `START@REAL_START xN`. Env: SPOTCHECK_CLOCK only."""
    sampling: Sampling = Sampling()
    """How many runs are drawn for scoring."""
    scoring: Scoring = Scoring()
    """What drawn runs are scored with."""
    judge: Judge = Judge()
    """The judge's model, endpoint and budget."""
    schedule: Schedule = Schedule()
    """When the night is drawn."""
    alerts: Alerts = Alerts()
    """How often chance may raise an alarm, and what is told at once."""
    task_type: TaskTypeRules = TaskTypeRules()
    """How a task type is found for sources that do not say it."""
    intake: Intake = Intake()
    """Limits on what comes from outside."""
    store: Store = Store()
    """How long things are kept."""
    metrics: Metrics = Metrics()
    """Figures for a monitoring system."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that nights and weeks are counted in."""
        return ZoneInfo(self.schedule.time_zone)

    @property
    def database(self) -> str:
        """The database URL with its secret; for the store only."""
        return self.database_url.get_secret_value()

    @property
    def sqlite_path(self) -> Path | None:
        """The database file; None on a server or in memory."""
        path = self.database.removeprefix("sqlite:///")
        name = path.partition("?")[0].removeprefix("file:")
        return None if path == self.database or name in ("", ":memory:") else Path(name)

    @property
    def broker(self) -> str:
        """The broker URL with its secret; a `filesystem://` folder beside the database by default."""
        if self.broker_url is not None:
            return self.broker_url.get_secret_value()
        folder = self.sqlite_path.with_suffix(".broker") if self.sqlite_path else Path("spotcheck.broker")
        return f"filesystem://{folder.resolve()}"

    @property
    def secrets(self) -> frozenset[str]:
        """Keys, and the webhook's address, which may be one: they must stand in no log."""
        whole = (self.openai_api_key, self.webhook_secret, self.webhook_url)
        return frozenset(secret.get_secret_value().strip() for secret in whole if secret is not None) - {""}

    @property
    def is_judge_configured(self) -> bool:
        """Whether there is a model, and a key or an address of a server that may not need one."""
        return self.judge.model is not None and (self.openai_api_key is not None or self.judge.base_url is not None)

    @classmethod
    def read(cls, environ: Mapping[str, str], toml: str | None = None) -> "Settings":
        """Settings from an environment and the text of a `spotcheck.toml`.

        Args:
            environ: Environment variables; empty ones count as not given.
            toml: The file's text; None when there is no file.

        Raises:
            SettingsError: Names the key or variable, what was found and what is allowed.
        """
        data = _parse(toml)
        for name, path in _ENV.items():
            if path in _ENV_ONLY and _has(data, path):
                what = "is an address or secret" if path in _ADDRESSES else "belongs in the environment"
                raise SettingsError(f"spotcheck.toml: {path[-1]} {what}; set {name} instead")
        env = {name: value for name, value in environ.items() if name in _ENV and value.strip()}
        for name, value in env.items():
            target = data
            *tables, key = _ENV[name]
            for table in tables:
                target = target.setdefault(table, {})
                if not isinstance(target, dict):
                    raise SettingsError(f"spotcheck.toml: {table} must be a table, like [{table}]")
            target[key] = value
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SettingsError(_explain(error, env)) from None

    def explain(self, environ: Mapping[str, str], toml: str | None = None) -> Iterator[Value]:
        """Every setting with its value and where it comes from; secrets stay stars."""
        data = _parse(toml)
        names = {path: name for name, path in _ENV.items()}
        for path, value, field_help in _walk(self, ()):
            env = names.get(path)
            if env and environ.get(env, "").strip():
                source = f"env {env}"
            else:
                source = "spotcheck.toml" if _has(data, path) else "default"
            yield Value(".".join(path), _shown(path, value), source, " ".join((field_help or "").split()))


def _shown(path: tuple[str, ...], value: object) -> str:
    """A value as TOML would write it; passwords are stars."""
    if value is None:
        return "(not set)"
    if path in (("database_url",), ("broker_url",), ("judge", "base_url")):
        return without_password(value.get_secret_value() if isinstance(value, SecretStr) else str(value))
    if isinstance(value, SecretStr | str | Clock):
        return str(value)
    if isinstance(value, time):
        return value.strftime("%H:%M")
    return json.dumps(value, default=_as_table, ensure_ascii=False)


def _as_table(value: object) -> object:
    return value.model_dump(exclude_none=True) if isinstance(value, Section) else str(value)


def without_password(url: str) -> str:
    """A URL as it may be shown: the password is stars.

    Example:
        >>> without_password("redis://me:s3cr@t@host/0?password=s3cret&db=1")
        'redis://me:***@host/0?password=***&db=1'
    """
    return re.sub(r"(?i)([?&]\w*password=)[^&]*", r"\1***", re.sub(r"(://[^:/?#]*:).*@", r"\1***@", url))


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables with our prefix that are no settings, each with what was probably meant; a typo is otherwise silent."""
    for name in sorted(environ):
        if name.startswith("SPOTCHECK_") and name not in _ENV:
            near = difflib.get_close_matches(name, _ENV, n=1)
            yield f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "")


def _parse(toml: str | None) -> dict[str, Any]:
    try:
        return tomllib.loads(toml or "")
    except RecursionError:
        raise SettingsError("spotcheck.toml cannot be read: nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of thousands of digits
        raise SettingsError(f"spotcheck.toml cannot be read: {str(error).partition(';')[0]}") from None


def _has(data: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    node: Any = data
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


def _walk(section: BaseModel, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object, str | None]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _walk(value, (*path, name))
        else:
            yield (*path, name), value, field.description


def _explain(error: ValidationError, env: Mapping[str, str]) -> str:
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])  # a typo explains the rest
    path = tuple(str(part) for part in first["loc"])
    name = next((name for name, where in _ENV.items() if where == path and name in env), None)
    key = ".".join(path)
    where = f"env {name}" if name else f"spotcheck.toml: {key}"
    match first["type"]:
        case "extra_forbidden" if path[-1:] in _ADDRESSES:
            return f"{where} is an address or secret; set it in the environment"
        case "extra_forbidden":
            near = difflib.get_close_matches(path[-1], _keys(path[:-1]), n=1)
            return f"{where} is not a setting" + (f"; did you mean {near[0]}?" if near else "")
        case "missing":
            return f"{where} is missing"
        case "model_type" | "dict_type" | "mapping_type":
            allowed = f"must be a table, like [{key}]"
        case "tuple_type":
            allowed = 'must be a list, like ["a", "b"]'
        case "float_parsing" | "int_parsing" if str(first["input"]).strip().endswith("%"):
            allowed = "must be a number; 5% is written 0.05"
        case "value_error" if path[:2] == ("scoring", "schemas"):
            return f"{where}{str(first['msg']).removeprefix('Value error, ')}"  # the schema itself would fill the line
        case _:
            allowed = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}{_found(path, first['input'])}: {allowed}"


def _found(path: tuple[str, ...], value: object) -> str:
    if path == ("openai_api_key",):
        return ""
    return f" is {without_password(value) if isinstance(value, str) else value!r}"[:100]


def _keys(path: tuple[str, ...]) -> list[str]:
    for length in (2, 3):
        if path[:length] in _TABLES:
            return list(_TABLES[path[:length]].model_fields)
    node: type[BaseModel] = Settings
    for part in path:
        kind = node.model_fields[part].annotation if part in node.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        node = kind
    return list(node.model_fields)


_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    ("sampling", "task_types"): TaskTypeSampling,
    ("judge", "prices"): ModelPrice,
    ("judge", "budgets"): RubricBudget,
    ("judge", "quota", "models"): ModelQuota,
}
"""Tables whose keys are names that people choose."""


def read_here(environ: Mapping[str, str] | None = None) -> tuple[Settings, Mapping[str, str], str | None]:
    """Settings of this process: its environment, and `spotcheck.toml` in the working folder. For doors only.

    Returns:
        The settings, with the environment and the file's text that they were read from.

    Raises:
        SettingsError: As `Settings.read`; also when the file cannot be read as text.
    """
    environ = os.environ if environ is None else environ
    path = Path("spotcheck.toml")
    try:
        toml = path.read_text(encoding="utf-8-sig") if path.exists() else None  # some editors write a BOM
    except UnicodeDecodeError as error:
        raise SettingsError(f"spotcheck.toml cannot be read: not UTF-8 text at byte {error.start}") from None
    except OSError as error:
        raise SettingsError(f"spotcheck.toml cannot be read: {error.strerror}") from None
    return Settings.read(environ, toml), environ, toml
