"""Tables of spotcheck.toml: what runs are, which are drawn, who scores them, and when."""

import re
from collections.abc import Iterator, Mapping
from datetime import time
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
)

from worker.settings.section import Probability, Section


def _clock_time(value: object) -> time:
    if isinstance(value, time):
        return value  # TOML has times of its own
    if isinstance(value, str) and re.fullmatch(r"\d{1,2}:\d{2}", value):
        hour, minute = value.split(":")
        if int(hour) <= 23 and int(minute) <= 59:
            return time(int(hour), int(minute))
    raise ValueError('not a time of day; write it like "02:00"')


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
        task = self.task_types.get(task_type, TaskTypeSampling())
        rate = task.flagged_rate if flagged else task.rate
        if rate is None:
            rate = self.flagged_rate if flagged else self.rate
        return rate, self.floor_per_night if task.floor_per_night is None else task.floor_per_night


class ScoringSection(Section):
    """What drawn runs are scored with."""

    heuristics: Annotated[tuple[str, ...] | None, AfterValidator(_names)] = None
    """Names of heuristics, your own among them; all when not given."""
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
    custom: Mapping[str, str] = Field(default_factory=dict)
    """Scorers of your own, by name: `package.module:function`; a module beside `spotcheck.toml` is found."""
    settings: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """Settings of single heuristics and of your own scorers, by name."""


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
