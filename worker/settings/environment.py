"""Environment variables and spotcheck.toml to values; where each value came from; errors that say what is allowed.

Nothing here knows the list of settings: the class is an argument, and a field's annotation names its variable
(`section.Variable`).
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import time
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr, ValidationError

from worker.clock import Clock
from worker.errors import SettingsError
from worker.settings.section import Section, Variable, field_texts
from worker.settings.sections_judge import ModelPrice, ModelQuota, RubricBudget
from worker.settings.sections_sampling import TaskTypeSampling

Path = tuple[str, ...]
"""Where a setting stands: the names of its tables, then its own."""

_TABLES: dict[Path, type[BaseModel]] = {
    ("sampling", "task_types"): TaskTypeSampling,
    ("judge", "prices"): ModelPrice,
    ("judge", "budgets"): RubricBudget,
    ("judge", "quota", "models"): ModelQuota,
}
"""Tables whose keys are names that people choose."""


class Value(NamedTuple):
    """One setting as `spotcheck settings` prints it."""

    name: str
    value: str
    source: str
    """`env NAME`, `spotcheck.toml`, or `default`."""
    help: str


@cache
def variables(model: type[Section]) -> Mapping[Path, Variable]:
    """The settings of a class that an environment variable can give, by their path, in the order of the fields."""
    return dict(_variables(model, ()))


def _variables(model: type[Section], path: Path) -> Iterator[tuple[Path, Variable]]:
    for name, field in model.model_fields.items():
        for entry in field.metadata:
            if isinstance(entry, Variable):
                yield (*path, name), entry
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _variables(field.annotation, (*path, name))


def merged(model: type[Section], environ: Mapping[str, str], toml: str | None) -> dict[str, Any]:
    """What the file and the environment give, as one tree; the environment wins.

    Args:
        model: The class of the settings.
        environ: Environment variables; those that are empty or blank count as not given.
        toml: The text of `spotcheck.toml`; None when there is no file.

    Raises:
        SettingsError: The file is not TOML, or gives what only the environment may give.
    """
    data = _parse(toml)
    for path, variable in variables(model).items():
        if variable.is_environment_only and _has(data, path):
            what = "belongs in the environment" if variable.kind == "process" else "is an address or secret"
            raise SettingsError(f"spotcheck.toml: {path[-1]} {what}; set {variable.name} instead")
    for path, variable in variables(model).items():
        if not environ.get(variable.name, "").strip():
            continue
        table = data
        for name in path[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise SettingsError(f"spotcheck.toml: {name} must be a table, like [{name}]")
        table[path[-1]] = environ[variable.name]
    return data


def explain(settings: Section, environ: Mapping[str, str], toml: str | None) -> Iterator[Value]:
    """Every setting with its value and where it comes from; secrets stay stars."""
    data = _parse(toml)
    known = variables(type(settings))
    for path, value, field_help in _walk(settings, ()):
        variable = known.get(path)
        if variable is not None and environ.get(variable.name, "").strip():
            source = f"env {variable.name}"
        else:
            source = "spotcheck.toml" if _has(data, path) else "default"
        yield Value(".".join(path), _shown(variable, value), source, " ".join((field_help or "").split()))


def complaint(model: type[Section], error: ValidationError, environ: Mapping[str, str]) -> str:
    """One line for what pydantic found wrong: the variable or the key, the value, and what is allowed."""
    details = error.errors(include_url=False)
    first = next(
        (detail for detail in details if detail["type"] == "extra_forbidden"), details[0]
    )  # a typo explains the rest
    path = tuple(str(part) for part in first["loc"])
    variable = variables(model).get(path)
    key = ".".join(path)
    is_given = variable is not None and environ.get(variable.name, "").strip()
    where = f"env {variable.name}" if variable is not None and is_given else f"spotcheck.toml: {key}"
    match first["type"]:
        case "extra_forbidden" if path[-1] in _secret_names(model):
            return f"{where} is an address or secret; set it in the environment"
        case "extra_forbidden":
            near = difflib.get_close_matches(path[-1], _keys(model, path[:-1]), n=1)
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
    return f"{where}{_quoted(variable, first['input'])}: {allowed}"


def unknown_names(model: type[Section], environ: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable with our prefix that is no setting: a typo would otherwise pass in silence."""
    known = [variable.name for variable in variables(model).values()]
    for name in sorted(environ):
        if name.startswith("SPOTCHECK_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "")


def without_password(url: str) -> str:
    """A URL as it may be shown: the password is stars.

    Example:
        >>> without_password("redis://me:s3cr@t@host/0?password=s3cret&db=1")
        'redis://me:***@host/0?password=***&db=1'
    """
    return re.sub(r"(?i)([?&]\w*password=)[^&]*", r"\1***", re.sub(r"(://[^:/?#]*:).*@", r"\1***@", url))


def _shown(variable: Variable | None, value: object) -> str:
    """A value as TOML would write it; secrets and passwords are stars."""
    if value is None:
        return "(not set)"
    if variable is not None and variable.kind in ("url", "address"):
        return without_password(value.get_secret_value() if isinstance(value, SecretStr) else str(value))
    if isinstance(value, SecretStr | str | Clock):
        return str(value)
    if isinstance(value, time):
        return value.strftime("%H:%M")
    return json.dumps(value, default=_as_table, ensure_ascii=False)


def _as_table(value: object) -> object:
    return value.model_dump(exclude_none=True) if isinstance(value, Section) else str(value)


def _quoted(variable: Variable | None, value: object) -> str:
    if variable is not None and variable.kind == "secret":
        return ""
    return f" is {without_password(value) if isinstance(value, str) else value!r}"[:100]


def _secret_names(model: type[Section]) -> set[str]:
    return {path[-1] for path, variable in variables(model).items() if variable.kind in ("address", "secret")}


def _parse(toml: str | None) -> dict[str, Any]:
    try:
        return tomllib.loads(toml or "")
    except RecursionError:
        raise SettingsError("spotcheck.toml cannot be read: nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of thousands of digits
        raise SettingsError(f"spotcheck.toml cannot be read: {str(error).partition(';')[0]}") from None


def _has(data: Mapping[str, Any], path: Path) -> bool:
    node: Any = data
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


def _walk(section: Section, path: Path) -> Iterator[tuple[Path, object, str | None]]:
    texts = field_texts(type(section))
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _walk(value, (*path, name))
        else:
            yield (*path, name), value, texts.get(name)


def _keys(model: type[BaseModel], path: Path) -> list[str]:
    for length in (2, 3):
        if path[:length] in _TABLES:
            return list(_TABLES[path[:length]].model_fields)
    for part in path:
        kind = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)
