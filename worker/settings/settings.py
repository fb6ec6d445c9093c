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
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)

from worker.clock import REAL, Clock, read_clock
from worker.clock import VARIABLE as CLOCK
from worker.errors import SettingsError
from worker.settings.section import Section
from worker.settings.sections_alerts import AlertsSection, MetricsSection, StoreSection
from worker.settings.sections_judge import JudgeSection, ModelPrice, ModelQuota, RubricBudget
from worker.settings.sections_sampling import (
    IntakeSection,
    SamplingSection,
    ScheduleSection,
    ScoringSection,
    TaskTypeRules,
    TaskTypeSampling,
)


def _broker(url: SecretStr) -> SecretStr:
    scheme, _, rest = url.get_secret_value().partition("://")
    if scheme not in _BROKERS or (scheme == "filesystem" and not rest):
        raise ValueError("not a broker; write redis://HOST:6379/0, filesystem://FOLDER or memory://")
    return url


def _database(url: SecretStr) -> SecretStr:
    if re.fullmatch(r"sqlite(\+\w+)?:(//)?(/(:memory:)?)?", url.get_secret_value()):
        raise ValueError("a database in memory would be gone after each command; write sqlite:///FILE")
    return url


_BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp", "sqs", "filesystem", "memory")
"""Celery's transports that a message of a few bytes may go through."""


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
    sampling: SamplingSection = SamplingSection()
    """How many runs are drawn for scoring."""
    scoring: ScoringSection = ScoringSection()
    """What drawn runs are scored with."""
    judge: JudgeSection = JudgeSection()
    """The judge's model, endpoint and budget."""
    schedule: ScheduleSection = ScheduleSection()
    """When the night is drawn."""
    alerts: AlertsSection = AlertsSection()
    """How often chance may raise an alarm, and what is told at once."""
    task_type: TaskTypeRules = TaskTypeRules()
    """How a task type is found for sources that do not say it."""
    intake: IntakeSection = IntakeSection()
    """Limits on what comes from outside."""
    store: StoreSection = StoreSection()
    """How long things are kept."""
    metrics: MetricsSection = MetricsSection()
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
