"""Scorers by the names that a person gives them, and what to do about one that scores nothing now."""

from collections.abc import Sequence

from worker.errors import SettingsError
from worker.project.project import Project
from worker.scorers.registry import BUILT_IN, check_name
from worker.store.queue.enrol import Registered

_THEN = "then the next draw (spotcheck nightly) makes it active, and a backfill scores drawn nights with it"


def chosen(
    project: Project, active: Sequence[Registered], stored: Sequence[Registered], names: Sequence[str]
) -> list[Registered]:
    """The scorers of these names; all active rubrics without any.

    Args:
        project: Its files and settings say why a name is not active; they are read only then.
        active: The active scorers.
        stored: All that are stored.
        names: NAME for the active version, NAME@VERSION, or a series id.

    Raises:
        SettingsError: A name is unknown, or no version of it is active; the message says what to do.
    """
    if not names:
        return [row for row in active if row.key.kind == "judge"]
    found: dict[int, Registered] = {}
    for name in names:
        row = _row(project, name, active, stored)
        found[row.pk] = row
    return list(found.values())


def _row(project: Project, wanted: str, active: Sequence[Registered], stored: Sequence[Registered]) -> Registered:
    name, _, version = wanted.partition("@")
    active_names = {row.key.name: None for row in active}
    same = [row for row in stored if wanted == row.key.series or (row.key.name == name and version)]
    if version:
        same = [row for row in same if version in (row.key.version, row.key.series)]
    elif not same:
        same = [row for row in active if row.key.name == name]
    if not same:
        known = active_names
        if name not in known and (why := _not_active(project, name)):
            raise SettingsError(f"--scorer: {why}")
        if version and name in known and stored:
            others = ", ".join(row.key.series for row in stored if row.key.name == name)
            why = _not_stored(project, name, version)
            raise SettingsError(f"--scorer: {name} has no version {version!r}; stored are {others}{why}")
        check_name("--scorer", name, known)
    names = {row.key.name for row in same}
    if len(names) > 1:
        raise SettingsError(f"--scorer: series {wanted} is one of {', '.join(sorted(names))}; write NAME@{wanted}")
    in_force = [row for row in same if row in active]
    if len(same) > 1 and not in_force:
        series = ", ".join(row.key.series for row in same)
        raise SettingsError(f"--scorer: {wanted} is several series; name one of {series}")
    row = in_force[0] if in_force else same[0]
    if row.key.name not in active_names:
        why = _not_active(project, row.key.name) or f"no version of {row.key.name} is active"
        raise SettingsError(f"--scorer: {why}; until then its jobs would be skipped")
    if row.is_judgeless:
        raise SettingsError(f"--scorer: {row.key.name} {row.key.series} has no judge; it scores nothing")
    return row


def _not_active(project: Project, name: str) -> str | None:
    """Why a scorer that exists is not active, and what makes it so; None where there is none of this name."""
    drafts, scoring = project.scorers.drafts, project.settings.scoring
    is_rubric = name in drafts.names
    if is_rubric and (problem := drafts.problem(name)) is not None:
        return f"{name} is not active, and its file is wrong: {problem}"
    if is_rubric and name not in scoring.rubrics:
        there = ", ".join(scoring.rubrics) or "none"
        return f"rubric {name} has a file, but scoring.rubrics does not name it (there: {there}); add it there: {_THEN}"
    if is_rubric:
        return f"rubric {name} is not active yet: the next draw (spotcheck nightly) makes it so; backfill after it"
    if name in BUILT_IN or name in scoring.custom:
        if scoring.heuristics is not None and name not in scoring.heuristics:
            return f"heuristic {name} is not in scoring.heuristics; add it there: {_THEN}"
        return f"heuristic {name} is not active yet: the next draw (spotcheck nightly) makes it so; backfill after it"
    return None


def _not_stored(project: Project, name: str, version: str) -> str:
    """What to do where the version that is meant lies in the file; else nothing."""
    draft = project.scorers.drafts.rubrics.get(name)
    if draft is None or draft.version != version:
        return ""
    return f"; {version} is the draft in {draft.path}: spotcheck rubric promote {name} --unproved WHY makes it active"
