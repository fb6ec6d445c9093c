"""Where custom scorers come from: `[scoring.custom]`, and entry points of installed packages."""

import re
from collections.abc import Collection, Mapping
from importlib import metadata
from typing import NamedTuple

from worker.scorers.heuristics.heuristic import excerpt

GROUP = "spotcheck.scorers"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TARGET = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_FIGURES = ("error_rate", "abort_rate", "completion_rate", "cost_per_run", "steps_per_run", "tool_failure")
"""What the watch over all runs calls its figures; a scorer of that name would stand beside them in every list."""


class ScorerSource(NamedTuple):
    """A custom scorer that is named somewhere and not loaded yet."""

    name: str
    module: str
    path: str
    """Of the function, class or instance in its module."""
    where: str
    """What names it, for messages: the setting, or the entry point with its package."""
    is_beside_settings: bool
    """Whether its module may lie in the folder of `spotcheck.toml`."""


class SourceProblem(NamedTuple):
    """A custom scorer that is named somewhere and cannot be one."""

    name: str
    text: str
    """What is wrong, and what names it: one line."""
    is_setting: bool
    """Whether `[scoring.custom]` names it; else a package does."""


class FoundSources(NamedTuple):
    """What is named as a custom scorer."""

    sources: dict[str, ScorerSource]
    """By name, those of packages first."""
    problems: list[SourceProblem]


def find_sources(custom: Mapping[str, str], taken: Collection[str], rubrics: Collection[str] = ()) -> FoundSources:
    """All custom scorers; nothing is imported.

    Of two packages with the same name the first by the package's name has it; a package's goes before a setting's.

    Args:
        custom: `[scoring.custom]`: `package.module:function` by name.
        taken: Names of the built-in heuristics.
        rubrics: Names of the rubrics.
    """
    found = FoundSources({}, [])
    named, problem = _entry_points()
    if problem is not None:
        found.problems.append(SourceProblem("", problem, is_setting=False))
    named += [(name, target, f"spotcheck.toml: scoring.custom.{name}", True) for name, target in custom.items()]
    for name, target, where, is_setting in named:
        parts = _TARGET.fullmatch(target.strip())
        why = _why_not(name, taken)
        if why is None and parts is None:
            found.problems.append(
                SourceProblem(name, f'{where} is {target!r:.100}: write it like "package.module:function"', is_setting)
            )
            continue
        if why is None and name in rubrics:
            where = f"scorer {name!r}" if is_setting else where
            why = "there is a rubric of that name; choose another"
        if why is None and name in found.sources and found.sources[name].where != where:
            why = f"the name is taken by {found.sources[name].where}; choose another"
        if why is not None or parts is None:
            found.problems.append(SourceProblem(name, f"{where}: {why}", is_setting))
            continue
        found.sources[name] = ScorerSource(name, parts["module"], parts["path"], where, is_setting)
    return found


def _why_not(name: str, taken: Collection[str]) -> str | None:
    """Why this can be no scorer's name; None where it can."""
    if not _NAME.fullmatch(name):
        return "a scorer's name is lower-case letters, digits and _, at most 64"
    if name in taken:
        return "there is a built-in heuristic of that name; choose another"
    return "there is a figure of all runs of that name; choose another" if name in _FIGURES else None


def _entry_points() -> tuple[list[tuple[str, str, str, bool]], str | None]:
    """Name, target and place of the entry points, by name and package; and why some could not be read."""
    try:
        found = sorted((entry.name, _package(entry), entry.value) for entry in metadata.entry_points(group=GROUP))
    except Exception as error:  # noqa: BLE001 what any installed package left in its files
        return [], f"the entry points {GROUP} of installed packages cannot be read: {type(error).__name__}"
    named = [
        (name, target, f"entry point {GROUP} {excerpt(name)} of package {excerpt(package)}", False)
        for name, package, target in found
    ]
    return named, None


def _package(entry: metadata.EntryPoint) -> str:
    return str(entry.dist.name) if entry.dist is not None else "(unknown)"
