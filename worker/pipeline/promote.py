"""A person makes a stored text or a draft the active one of its rubric, for nights that are not drawn yet."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from worker.errors import SettingsError
from worker.pipeline.activate import register_revision
from worker.project.candidate import text_of as text_of
from worker.project.project import Project
from worker.store.queue.enrol import Registered
from worker.store.rubrics import revisions, texts
from worker.store.rubrics.texts import Promotion, RubricText

SHORTEST_HASH = 6
"""Digits of a text's hash that name it."""


class Promoted(NamedTuple):
    """What a promotion did."""

    text: RubricText
    before: RubricText | None
    """What was active; None where nothing was."""
    is_new: bool
    """False where the text was active already: nothing is stored then."""
    scorer: Registered | None
    """What nights are drawn with from now on; None before the first draw, and for a rubric that is not wanted."""
    lines: Sequence[str] = ()


def find_text(project: Project, name: str, version: str | None) -> RubricText:
    """The text that a person means.

    Args:
        project: Whose store and files.
        name: Of the rubric.
        version: A version that the store or the file has, or the beginning of one stored hash, at least 6 digits; None
            for the file.

    Raises:
        SettingsError: There is none, or the file changed without its version.
        RubricError: The file is wrong.
    """
    with project.store.read() as connection:
        stored = texts.texts_named(connection, name)
    draft = project.scorers.drafts.rubrics.get(name)
    if version is not None:
        found = [text for text in stored if text.version == version]
        if not found and len(version) >= SHORTEST_HASH:
            found = [text for text in stored if text.hash.startswith(version)]
        if found:
            return found[-1]
    if draft is not None and version in (None, draft.version):
        text = text_of(draft)
        other = next((old for old in stored if old.version == text.version and old.hash != text.hash), None)
        if other is not None:
            raise SettingsError(
                f"{draft.path} differs from {name} {other.version} as it scored: raise its version, "
                f"or give --version {other.version} for the stored one"
            )
        return text
    problem = project.scorers.drafts.problem(name)
    if problem is not None and version is None:
        raise problem
    known = sorted({text.version for text in stored} | ({draft.version} if draft else set()))
    if not known:
        names = ", ".join(sorted(project.scorers.drafts.names)) or "none"
        raise SettingsError(f"there is no rubric {name!r}; there are: {names}")
    missing = "file" if version is None else f"version {version!r}"
    raise SettingsError(f"{name} has no {missing}; there are: {', '.join(known)} (--version)")


def promote(project: Project, text: RubricText, now: datetime, *, by: str, why: str) -> Promoted:
    """Make a text active at once, for nights that are not drawn yet; nights that are drawn keep their version.

    Args:
        project: Whose rubric.
        text: As `find_text` gives it.
        now: The time.
        by: The person.
        why: Why it may score without a proof; stored with the promotion.
    """
    project.secret  # noqa: B018 stored before the transaction below
    with project.store.write() as connection:
        revisions.lock(connection)
        before = texts.active(connection).get(text.name)
        if before is not None and before.hash == text.hash:
            return Promoted(text, before, False, _scorer(revisions.active_scorers(connection), text.name))
        is_shipped = _is_shipped(project, text, texts.promotions(connection, text.name))
        texts.promote(connection, text, now=now, by=by, proof={"unproved": why}, is_shipped=is_shipped)
        current = revisions.current(connection)
        rows = revisions.active_scorers(connection)
        row = _scorer(rows, text.name)
        if current is None or row is None:
            return Promoted(text, before, True, None)
        model = row.key.spec.get("model")  # the judge stays who it is, whatever this machine's environment says
        redact = bool(row.key.spec.get("redact", True))
        entry = project.scorers.of_text(text, None if model is None else str(model), redact=redact)
        entries = [entry if other is row else other for other in rows]
        active = register_revision(project, connection, entries, current, now, by=by)
    return Promoted(text, before, True, _scorer(active.scorers, text.name), active.lines)


def _is_shipped(project: Project, text: RubricText, before: Sequence[Promotion]) -> bool | None:
    """Whether the text came with Spotcheck, by its file or as it was noted when it was active before; None: unknown."""
    draft = project.scorers.drafts.rubrics.get(text.name)
    if draft is not None and text_of(draft).hash == text.hash:
        return project.scorers.drafts.is_shipped(draft)
    return next((one.is_shipped for one in reversed(before) if one.hash == text.hash), None)


def _scorer(rows: Sequence[Registered], name: str) -> Registered | None:
    return next((row for row in rows if row.key.name == name), None)
