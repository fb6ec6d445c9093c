"""One frozen `Settings.read(environ, toml)`: addresses and secrets from the environment, policy from `spotcheck.toml`.

Pure: the environment is an argument. Each command or process calls it once and hands the value down; nobody imports it
as a global.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, ValidationError

from worker.clock import REAL, Clock, read_clock
from worker.clock import VARIABLE as CLOCK
from worker.errors import SettingsError
from worker.settings import environment
from worker.settings.addresses import Addresses
from worker.settings.environment import Value
from worker.settings.section import Variable
from worker.settings.sections_alerts import AlertsSection, MetricsSection, StoreSection
from worker.settings.sections_judge import JudgeSection
from worker.settings.sections_sampling import (
    IntakeSection,
    SamplingSection,
    ScheduleSection,
    ScoringSection,
    TaskTypeRules,
)


class Settings(Addresses):
    """Every setting, with unit and default."""

    settle_s: Annotated[float, Field(ge=0), Variable("SPOTCHECK_SETTLE_S")] = 600
    """Seconds without news after which a run sent in spans counts as ended. Env: SPOTCHECK_SETTLE_S."""
    log: Annotated[Literal["text", "json"], Variable("SPOTCHECK_LOG")] = "text"
    """Log lines of worker, beat and up: for people, or one JSON object each. Env: SPOTCHECK_LOG."""
    clock: Annotated[Clock, BeforeValidator(read_clock), Variable(CLOCK, "process")] = REAL
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
        """Keys, and destinations' addresses, which may be keys: the values that must stand in no log."""
        paths = [path for path, variable in environment.variables(Settings).items() if variable.kind == "secret"]
        values = [getattr(self, path[-1]) for path in paths]  # secrets are fields of `Addresses`, in no table
        return frozenset(value.get_secret_value().strip() for value in values if value is not None) - {""}

    @property
    def sinks(self) -> tuple[str, ...]:
        """Names of the destinations that have an address, in the order of the fields."""
        return tuple(self.sink_addresses)

    @property
    def sink_addresses(self) -> Mapping[str, SecretStr]:
        """The address of each destination that has one, by name, in the order of the fields; it may be a secret."""
        known = environment.variables(Settings).items()
        named = ((variable.sink, getattr(self, path[-1])) for path, variable in known if variable.sink is not None)
        return {name: address for name, address in named if address is not None}

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
        data = environment.merged(cls, environ, toml)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SettingsError(environment.complaint(cls, error, environ)) from None

    def explain(self, environ: Mapping[str, str], toml: str | None = None) -> Iterator[Value]:
        """Every setting with its value and where it comes from; secrets stay stars."""
        return environment.explain(self, environ, toml)


VARIABLES: Mapping[str, Variable] = {variable.name: variable for variable in environment.variables(Settings).values()}
"""Every environment variable that is a setting, by its name."""


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables with our prefix that are no settings, each with what was probably meant."""
    return environment.unknown_names(Settings, environ)


def read_here(environ: Mapping[str, str] | None = None) -> tuple[Settings, Mapping[str, str], str | None]:
    """Settings of this process: its environment, and `spotcheck.toml` in the working folder.

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
