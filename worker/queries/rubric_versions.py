"""The versions of a rubric: stored texts, when each was active, and the series that it scored."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

from worker.project import candidate
from worker.project.project import Project
from worker.store import schema
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.results.cells import first_scored
from worker.store.rubrics import revisions, texts
from worker.store.rubrics.texts import Promotion
from worker.store.rubrics.texts import RubricText as RubricText  # for those who may not see the store


class RubricVersion(NamedTuple):
    """One stored text of a rubric."""

    text: RubricText
    promotions: Sequence[Promotion]
    """When it became active, oldest first; empty for a text that never did."""
    series: Sequence[Registered]
    """The scorers that were made of it, oldest first: one for each judge and each way of asking."""
    is_active: bool
    active_series: str | None
    """The series that nights are drawn with now; None where it is not active."""
    firsts: Mapping[int, date] = MappingProxyType({})
    """The oldest night that each of its series has a score of, by the scorer's key; absent without a score."""

    @property
    def model(self) -> str | None:
        """The judge of that series; None without one."""
        row = next((row for row in self.series if row.key.series == self.active_series), None)
        model = None if row is None else row.key.spec.get("model")
        return None if model is None else str(model)


def versions(project: Project, name: str) -> list[RubricVersion]:
    """Every stored text of a rubric, oldest first; empty where the store knows none, or is not there.

    Raises:
        StoreError: The database does not answer.
    """
    if schema.state(project.store) != "current":
        return []
    with project.store.read() as connection:
        stored = texts.texts_named(connection, name)
        promotions = texts.promotions(connection, name)
        rows = [row for row in enrol.registered(connection) if row.key.name == name and row.key.kind == "judge"]
        drawn_with = {row.key.name: row for row in revisions.active_scorers(connection)}.get(name)
        firsts = first_scored(connection, [row.pk for row in rows])
    active_hash = promotions[-1].hash if promotions else None
    return [
        RubricVersion(
            text,
            [promotion for promotion in promotions if promotion.hash == text.hash],
            [row for row in rows if row.key.spec.get("rubric_hash") == text.hash],
            text.hash == active_hash,
            drawn_with.key.series
            if drawn_with is not None and drawn_with.key.spec.get("rubric_hash") == text.hash
            else None,
            firsts,
        )
        for text in stored
    ]


def has_scored(project: Project, name: str) -> bool:
    """Whether the store has a series of a rubric; false where there is no store. A release of 0.1 stored no texts."""
    if schema.state(project.store) != "current":
        return False
    with project.store.read() as connection:
        return any(row.key.name == name and row.key.kind == "judge" for row in enrol.registered(connection))


def active_versions(project: Project) -> dict[str, RubricVersion]:
    """The version that scores, of every rubric that was ever promoted, by name; empty without a current database.

    Raises:
        StoreError: The database does not answer.
    """
    if schema.state(project.store) != "current":
        return {}
    with project.store.read() as connection:
        active = texts.active(connection)
        drawn_with = {row.key.name: row for row in revisions.active_scorers(connection)}
    found = {}
    for name, text in active.items():
        row = drawn_with.get(name)
        fits = row is not None and row.key.spec.get("rubric_hash") == text.hash
        found[name] = RubricVersion(
            text, (), [row] if row and fits else [], True, row.key.series if row and fits else None
        )
    return found


def file_lines(project: Project) -> dict[str, str]:
    """What becomes of the files of active rubrics at the next draw, a line each; without those that hold what scores.

    Raises:
        StoreError: The database does not answer.
    """
    if schema.state(project.store) != "current":
        return {}
    with project.store.read() as connection:
        now_active = candidate.situation(connection)
    drafts = project.scorers.drafts
    lines = {name: candidate.file_line(name, now_active, drafts) for name in now_active.texts}
    return {name: line for name, line in lines.items() if line is not None}


def chosen(found: Sequence[RubricVersion], wanted: str | None) -> RubricVersion | None:
    """The version that a person means.

    Args:
        found: As `versions` gives them.
        wanted: A version, a series id, or the beginning of a text's hash (at least 6 digits); None for the active one,
            and where none is, the newest.

    Returns:
        None where nothing fits. Of several texts with one version the newest.
    """
    if wanted is None:
        return next((one for one in reversed(found) if one.is_active), found[-1] if found else None)
    fits = [
        one
        for one in found
        if one.text.version == wanted
        or any(row.key.series == wanted for row in one.series)
        or (len(wanted) >= _SHORTEST_HASH and one.text.hash.startswith(wanted))
    ]
    return fits[-1] if fits else None


_SHORTEST_HASH = 6


def differences(before: RubricText, after: RubricText) -> Iterator[str]:
    """What two texts of a rubric differ in, with what they include: lines of a unified diff; none for equal texts."""
    names = sorted({*before.includes, *after.includes})
    pairs = [(f"{before.name}", before.source, after.source)]
    pairs += [(name, before.includes.get(name, ""), after.includes.get(name, "")) for name in names]
    for name, old, new in pairs:
        yield from difflib.unified_diff(
            old.splitlines(), new.splitlines(), f"{name} {before.version}", f"{name} {after.version}", lineterm="", n=1
        )


def as_json(one: RubricVersion) -> dict[str, Any]:
    """A version as `rubric show --json` gives it."""
    return {
        "name": one.text.name,
        "version": one.text.version,
        "hash": one.text.hash,
        "active": one.is_active,
        "scorer_version": one.active_series,
        "promotions": [
            {"from_night": each.from_night, "at": each.at, "by": each.by, "proof": dict(each.proof)}
            for each in one.promotions
        ],
        "series": [
            {
                "scorer_version": row.key.series,
                "active": row.key.series == one.active_series,
                "oldest_night": one.firsts.get(row.pk),
                **_settings(row.key.spec),
            }
            for row in one.series
        ],
        "source": one.text.source,
        "includes": dict(one.text.includes),
    }


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a series was made of, without what the text says already."""
    return {key: value for key, value in spec.items() if key not in ("rubric", "rubric_hash")}
