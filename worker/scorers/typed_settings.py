"""Typed settings of a scorer: read from a table of `spotcheck.toml`, and what of them enters its fingerprint."""

import dataclasses
import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python

from worker.errors import SettingsError

_PARAMETER = "settings"
_LISTS = ("tuple_type", "list_type", "set_type", "frozen_set_type")
_LIST = 'must be a list, like ["a", "b"]'
"""What TOML calls all of them."""


def settings_type(factory: Callable[..., object]) -> object:
    """What a class or function that makes a scorer wants to be given as `settings`.

    Args:
        factory: A class, or a function.

    Returns:
        The annotation of its parameter named `settings`: a pydantic model or a dataclass; `dict` where it is not
        annotated. None where it has no such parameter, and so no settings.

    Raises:
        NameError: An annotation of a factory cannot be resolved. Those of a function without settings are not looked
            at: what they name is often imported for a type checker alone.
    """
    try:
        if _PARAMETER not in inspect.signature(factory).parameters:
            return None
        parameter = inspect.signature(factory, eval_str=True).parameters.get(_PARAMETER)
    except (ValueError, TypeError):  # nothing to read it from
        return None
    if parameter is None:
        return None
    return dict if parameter.annotation is inspect.Parameter.empty else parameter.annotation


def read_settings(kind: object, table: Mapping[str, Any], where: str) -> object:
    """A table of the settings file as the type that a scorer asks for.

    Args:
        kind: As `settings_type` gives it.
        table: What the file says; empty when it says nothing.
        where: The table's name, for messages.

    Raises:
        SettingsError: A key is unknown or missing, or a value is wrong, or has no JSON form, without which no series
            can be told by it; names the key and what was found.
    """
    fields = _fields(kind)
    for key in table if fields is not None else ():
        if key not in (fields or ()):
            near = difflib.get_close_matches(key, fields or (), n=1)
            raise SettingsError(f"{where}.{key} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        settings = _adapter(kind).validate_python(dict(table))
        changed_settings(settings)
        return settings
    except UnstableSetting as error:
        raise SettingsError(f"{where}{error}") from None
    except PydanticUserError as error:
        raise SettingsError(f"{where}: {kind!r} is no type that settings can have: {_line(error)}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join((where, *map(str, first["loc"])))
        if first["type"] == "missing":
            raise SettingsError(f"{key} is missing") from None
        allowed = _LIST if first["type"] in _LISTS else first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{key} is {first['input']!r:.100}: {allowed}") from None


def changed_settings(settings: object) -> Any:  # noqa: ANN401 any JSON value
    """Settings as JSON values, without those that have their default value.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Limits:
        ...     most: int = 20
        ...     least: int = 1
        >>> changed_settings(Limits(most=5))
        {'most': 5}

    Raises:
        UnstableSetting: One has no JSON form.
    """
    return _ordered(_adapter(type(settings)).dump_python(settings, exclude_defaults=True), "")


class OwnSetting(NamedTuple):
    """One setting of a scorer."""

    key: str
    value: object
    """As JSON has it."""
    help: str
    """What its class says of it; empty where it says nothing."""


def own_settings(settings: object) -> list[OwnSetting]:
    """Every setting of a scorer, those that have their default value too; none where it takes none.

    Args:
        settings: As a scorer was given it.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Limits:
        ...     most: int = 20
        >>> own_settings(Limits())
        [OwnSetting(key='most', value=20, help='')]
    """
    if settings is None:
        return []
    values = _ordered(_adapter(type(settings)).dump_python(settings, by_alias=True), "")
    if not isinstance(values, Mapping):
        return []
    texts: dict[str, str] = {}
    if isinstance(settings, BaseModel):
        fields = type(settings).model_fields
        texts = {field.alias or name: field.description or "" for name, field in fields.items()}
    return [OwnSetting(key, value, " ".join(texts.get(key, "").split())) for key, value in values.items()]


class UnstableSetting(ValueError):
    """A setting that has no JSON form: what Python shows of it differs from process to process, and so would series."""


def _ordered(value: object, path: str) -> object:
    """JSON values, in an order that is the same in every process: that of a set is not."""
    if isinstance(value, Mapping):
        return {_key(key, path): _ordered(inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_ordered(inner, path) for inner in value), key=repr)
    if isinstance(value, list | tuple):
        return [_ordered(inner, path) for inner in value]
    try:
        plain = to_jsonable_python(value, inf_nan_mode="constants")
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError):  # PydanticSerializationError is a ValueError
        shown = value if isinstance(value, float) else type(value).__name__
        raise UnstableSetting(f"{path} is {shown}, which has no JSON form") from None
    return plain


def _key(key: object, path: str) -> str:
    """A key as JSON has it; numbers, dates and the like in their own form."""
    if isinstance(key, Mapping | list | tuple | set | frozenset):
        raise UnstableSetting(f"{path} has a key that is {type(key).__name__}, which has no JSON form")
    return key if isinstance(key, str) else str(_ordered(key, path))


def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 any type that pydantic knows
    return TypeAdapter(kind)


def _fields(kind: object) -> list[str] | None:
    """Names of the keys a table may have; None where any are allowed."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.model_config.get("extra") != "allow":
        return [field.alias or name for name, field in kind.model_fields.items()]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return None


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
