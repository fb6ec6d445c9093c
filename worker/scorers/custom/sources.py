"""Where custom scorers come from: `[scoring.custom]`, and entry points of installed packages."""

import re
from collections.abc import Collection, Mapping
from importlib import metadata
from typing import NamedTuple

from worker.errors import SettingsError

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


def find_sources(custom: Mapping[str, str], taken: Collection[str]) -> dict[str, ScorerSource]:
    """All custom scorers by name, those of packages first; nothing is imported.

    Args:
        custom: `[scoring.custom]`: `package.module:function` by name.
        taken: Names of the built-in heuristics.

    Raises:
        SettingsError: A name is taken, or a name or target cannot be one.
    """
    found: dict[str, ScorerSource] = {}
    named = [
        (entry.name, entry.value, f"entry point {GROUP} {entry.name} of package {_package(entry)}", False)
        for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: (entry.name, _package(entry)))
    ]
    named += [(name, target, f"spotcheck.toml: scoring.custom.{name}", True) for name, target in custom.items()]
    for name, target, where, is_beside_settings in named:
        parts = _TARGET.fullmatch(target.strip())
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{where}: a scorer's name is lower-case letters, digits and _, at most 64")
        if parts is None:
            raise SettingsError(f'{where} is {target!r:.100}: write it like "package.module:function"')
        if name in taken:
            raise SettingsError(f"{where}: there is a built-in heuristic of that name; choose another")
        if name in _FIGURES:
            raise SettingsError(f"{where}: there is a figure of all runs of that name; choose another")
        if name in found and found[name].where != where:
            raise SettingsError(f"{where}: the name is taken by {found[name].where}; choose another")
        found[name] = ScorerSource(name, parts["module"], parts["path"], where, is_beside_settings)
    return found


def _package(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "(unknown)"
