"""Importing a custom scorer: a function, a factory that takes settings, or a class or instance with `evaluate`."""

import contextlib
import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from worker.errors import SettingsError
from worker.records import Run, RunFilter
from worker.scorers.custom.code_hash import code_hash
from worker.scorers.custom.scorer import CustomIdentity, CustomScorer
from worker.scorers.custom.sources import ScorerSource
from worker.scorers.heuristics.heuristic import excerpt
from worker.scorers.protocol import Context
from worker.scorers.typed_settings import read_settings, settings_type

_VERSION = re.compile(r"[\w.-]{1,40}")


def load(source: ScorerSource, table: Mapping[str, Any] | None) -> CustomScorer:
    """Import a custom scorer and give it its settings.

    Args:
        source: Where it is named.
        table: `[scoring.settings.NAME]`; None when there is none.

    Raises:
        SettingsError: It cannot be imported or made, or is nothing that scores; one line that names the setting.
    """
    try:
        return _loaded(source, table)
    except (SettingsError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 a property or a module's __getattr__ runs code that is not ours too
        raise SettingsError(f"{source.where}: {source.path} cannot be made: {_told(error)}") from None


def _loaded(source: ScorerSource, table: Mapping[str, Any] | None) -> CustomScorer:
    module = _imported(source)
    target = _found(source, module)
    kind = settings_type(target) if callable(target) and not hasattr(type(target), "evaluate") else None
    settings = None
    if kind is not None:
        settings = read_settings(kind, table or {}, f"spotcheck.toml: scoring.settings.{source.name}")
        made = _called(target, settings=settings)
    elif table is not None:
        raise SettingsError(
            f"spotcheck.toml: scoring.settings.{source.name}: {source.module}:{source.path} takes no settings; "
            "a factory has a parameter named settings"
        )
    else:
        made = _called(target) if inspect.isclass(target) else target
    version = _version(source, made, target)
    try:
        code = code_hash(target, module, source.path) if version is None else None
    except SettingsError as error:
        raise SettingsError(f"{source.where}: {error}") from None
    identity = CustomIdentity(source.name, version, code, settings, _parameters(made), _applies_to(source, made))
    scorer = CustomScorer(identity, _as_evaluate(source, made))
    try:
        scorer.key  # noqa: B018 made now, while the setting can be named
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{source.where}: its parameters are no JSON: {_told(error)}") from None
    return scorer


def _imported(source: ScorerSource) -> ModuleType:
    """The module; one beside `spotcheck.toml` is found too, after all that is installed."""
    here = str(Path.cwd())
    if source.is_beside_settings and here not in sys.path:
        sys.path.append(here)
        importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the command's answer
            return importlib.import_module(source.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 code that is not ours
        raise SettingsError(f"{source.where}: {source.module} cannot be imported: {_told(error)}") from None


def _found(source: ScorerSource, module: ModuleType) -> Any:  # noqa: ANN401 whatever a setting points to
    target: Any = module
    for part in source.path.split("."):
        if not hasattr(target, part):
            near = difflib.get_close_matches(part, [name for name in dir(target) if not name.startswith("_")], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            place = getattr(module, "__file__", None) or "(no file)"
            raise SettingsError(f"{source.where}: {source.module} ({place}) has no {source.path}{hint}")
        target = getattr(target, part)
    return target


def _called(target: Callable[..., object], **settings: object) -> object:
    with contextlib.redirect_stdout(sys.stderr):
        return target(**settings)


def _as_evaluate(source: ScorerSource, made: object) -> Callable[[Run, Context], object]:
    evaluate = getattr(made, "evaluate", None)
    if callable(evaluate):
        return _not_async(source, evaluate)
    if not callable(made):
        raise SettingsError(
            f"{source.where}: {source.path} is {type(made).__name__}; "
            "a scorer is a function of a run, or has evaluate()"
        )
    function = _not_async(source, made)
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise SettingsError(f"{source.where}: {source.path} must take one argument, the run") from None
    except ValueError:  # no signature can be read; the first run will tell
        pass
    return lambda run, context: function(run)


def _not_async(source: ScorerSource, function: Callable[..., object]) -> Callable[..., object]:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SettingsError(f"{source.where}: {source.path} is async; a scorer is a plain function")
    return function


def _version(source: ScorerSource, made: object, target: object) -> str | None:
    """The declared version; None where there is none."""
    for declared in (getattr(made, "version", None), getattr(target, "version", None)):
        if declared is not None:
            if isinstance(declared, bool) or not _VERSION.fullmatch(str(declared)):
                raise SettingsError(f'{source.where}: version is {declared!r:.60}; write it like "2" or "1.4.0"')
            return str(declared)
    return None


def _parameters(made: object) -> Mapping[str, Any]:
    declared = getattr(made, "parameters", None)
    return declared if isinstance(declared, Mapping) else {}


def _applies_to(source: ScorerSource, made: object) -> RunFilter:
    declared = getattr(made, "applies_to", RunFilter())
    if not isinstance(declared, RunFilter):
        raise SettingsError(f"{source.where}: applies_to is {type(declared).__name__}, not a worker.records.RunFilter")
    return declared


def _told(error: BaseException) -> str:
    return excerpt(f"{type(error).__name__}: {error}", 200)
