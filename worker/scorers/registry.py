"""The heuristics: built in, and a team's own. Heuristics say what code can see; none of them sees quality."""

import difflib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from worker.errors import SettingsError
from worker.scorers.custom.loading import load
from worker.scorers.custom.sources import find_sources
from worker.scorers.heuristics.answer_present import AnswerPresent
from worker.scorers.heuristics.completed import Completed
from worker.scorers.heuristics.grounded_figures import GroundedFigures
from worker.scorers.heuristics.heuristic import Heuristic
from worker.scorers.heuristics.in_range import cost_in_range, latency_in_range, steps_in_range
from worker.scorers.heuristics.no_repeats import NoRepeats
from worker.scorers.heuristics.tool_success import ToolSuccess
from worker.scorers.heuristics.valid_json import ValidJson
from worker.scorers.typed_settings import read_settings, settings_type
from worker.settings.sections_sampling import ScoringSection

BUILT_IN: Mapping[str, Callable[..., Heuristic]] = MappingProxyType(
    {
        "answer_present": AnswerPresent,
        "completed": Completed,
        "tool_success": ToolSuccess,
        "no_repeats": NoRepeats,
        "steps_in_range": steps_in_range,
        "cost_in_range": cost_in_range,
        "latency_in_range": latency_in_range,
        "grounded_figures": GroundedFigures,
        "valid_json": ValidJson,
    }
)
"""What makes each built-in heuristic, by its name, in the order they are shown: a class, or a function. One that takes
`settings` gets the table `[scoring.settings.NAME]` in the type that the parameter is annotated with."""

OnBroken = Callable[[str, str], None]
"""Gets the name of a custom scorer that cannot be used, and why."""


def build(
    scoring: ScoringSection,
    on_broken: OnBroken | None = None,
    *,
    on_broken_package: OnBroken | None = None,
    rubrics: Collection[str] = (),
    left_out: Collection[str] = (),
) -> Mapping[str, Heuristic]:
    """The heuristics in force, made from their settings.

    Args:
        scoring: Which are in force, the custom ones, and the settings of both.
        on_broken: Is told of a custom scorer that cannot be used, which is then left out. None raises instead.
        on_broken_package: The same for scorers of installed packages, where they are treated otherwise.
        rubrics: Names that belong to rubrics.
        left_out: Custom scorers that are known to be broken: no try is made.

    Returns:
        Heuristics by name: in the order of `scoring.heuristics`; without it the built-in ones, then those of installed
        packages, then those of `[scoring.custom]`. Only what is in force is imported.

    Raises:
        SettingsError: A name is unknown or taken, a setting is wrong, or a custom scorer cannot be used.
    """
    sources, problems = find_sources(scoring.custom, taken=BUILT_IN, rubrics=rubrics)
    on_broken_package = on_broken_package or on_broken
    factories: dict[str, Callable[[], Heuristic]] = {name: partial(_built_in, name, scoring) for name in BUILT_IN}
    for name, source in sources.items():
        factories[name] = partial(load, source, scoring.settings.get(name))
    known = dict.fromkeys((*factories, *(problem.name for problem in problems if problem.name)))
    for name in scoring.settings:
        check_name("scoring.settings", name, known)
    names = tuple(known) if scoring.heuristics is None else scoring.heuristics
    for problem in problems:
        is_in_force = problem.is_setting or problem.name in ("", *names)
        if is_in_force and problem.name not in left_out:
            _tell(problem.name, SettingsError(problem.text), on_broken if problem.is_setting else on_broken_package)
    built: dict[str, Heuristic] = {}
    for name in names:
        check_name("scoring.heuristics", name, known)
        if name in left_out or name not in factories:
            continue
        try:
            built[name] = factories[name]()
        except SettingsError as error:
            if name not in sources:
                raise
            _tell(name, error, on_broken if sources[name].is_beside_settings else on_broken_package)
    for name in built.keys() & set(rubrics):
        raise SettingsError(f"scorer {name!r}: there is a rubric of that name; choose another")
    return MappingProxyType(built)


def rebuild(name: str, spec: Mapping[str, Any], scoring: ScoringSection) -> Heuristic:
    """A heuristic as it was stored: today's code with the settings that its identity holds.

    The caller compares the fingerprints: where the code has changed since, this is another heuristic.

    Args:
        name: Of the heuristic.
        spec: Of its stored `ScorerKey`.
        scoring: Says where custom scorers are.

    Raises:
        SettingsError: There is none of this name any more, it cannot be loaded, or does not take these settings.
    """
    table: Mapping[str, Any] | None = spec.get("settings")
    if name in BUILT_IN:
        return _made(name, table, f"stored settings of {name}")
    source = find_sources(scoring.custom, taken=BUILT_IN).sources.get(name)
    if source is None:
        raise SettingsError(f"there is no scorer {name!r} any more")
    return load(source, table)


def _tell(name: str, error: SettingsError, on_broken: OnBroken | None) -> None:
    if on_broken is None:
        raise error
    on_broken(name, str(error))


def _built_in(name: str, scoring: ScoringSection) -> Heuristic:
    where = f"spotcheck.toml: scoring.settings.{name}"
    table: Mapping[str, Any] | None = scoring.settings.get(name)
    if name == "valid_json":
        if table is not None:
            raise SettingsError(f"{where}: its schemas stand in [scoring.schemas]")
        table = {"schemas": scoring.schemas}
    return _made(name, table, where)


def _made(name: str, table: Mapping[str, Any] | None, where: str) -> Heuristic:
    """A built-in heuristic; `table` holds its settings, None for the default ones."""
    factory = BUILT_IN[name]
    kind = settings_type(factory)
    if kind is None:
        if table is not None:
            raise SettingsError(f"{where}: {name} has no settings")
        return factory()
    return factory(settings=read_settings(kind, table or {}, where))


def check_name(setting: str, name: str, allowed: Mapping[str, object]) -> str:
    """A name in the settings, if it is one of those allowed.

    Raises:
        SettingsError: It is not; the message names the nearest one, or all.
    """
    if name in allowed:
        return name
    near = difflib.get_close_matches(name, list(allowed), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(allowed)}"
    raise SettingsError(f"{setting}: {name!r} is not known{hint}")
