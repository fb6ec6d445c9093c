"""What nights are drawn with: settings and files become active in the transaction of a draw, and stay it for its night.

Only who draws activates. A process may do so while nobody else has since it read its settings; else two processes with
different settings would take turns. A process that may not draws with what is active, and says that it differs.
"""

import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from worker.project.candidate import Candidate, digest_of
from worker.project.project import Project
from worker.project.scorers import adopted_series_line, new_series_lines
from worker.settings.sections_sampling import SamplingSection
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.rubrics import revisions, texts
from worker.store.rubrics.revisions import Revision
from worker.store.runs import draws

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.scorers.protocol import Scorer

UPGRADED = "active at the upgrade"
"""The proof of a text that scored before texts were stored."""


class Active(NamedTuple):
    """What is active."""

    scorers: list[Registered]
    sampling: SamplingSection
    number: int
    """Of the revision; 0 before the first."""
    lines: Sequence[str] = ()
    """What people should know: what became active, what did not and why."""
    trouble: str | None = None
    """In what this process's settings differ from what is active, where it may not activate them; else None."""


def this_process_name() -> str:
    """HOST:PID, as revisions and workers are named by."""
    return f"{socket.gethostname()}:{os.getpid()}"


def activate(project: Project, connection: Connection, night: date | None, now: datetime) -> Active:
    """Make active what the settings and files ask for, in the transaction that draws a night.

    Args:
        project: Whose settings and files.
        connection: Of the write transaction.
        night: The night that is drawn; None where it was drawn before: then no file becomes active, since the night
            keeps its rubrics, and a higher version is for the next one.
        now: The time.

    Raises:
        SettingsError: A wanted scorer does not exist.
        RubricError: A rubric is wanted for the first time, and its file is wrong.
    """
    before = revisions.current(connection)
    if before is not None and (trouble := _trouble(project, connection, before)) is not None:
        return as_stored(project, connection, before, trouble=trouble)
    with_files = night is not None
    wanted = project.scorers.candidate(connection, with_files=with_files)
    if before is not None and wanted.digest == before.digest and not wanted.risen:
        _know(project, before)
        return as_stored(project, connection, before, lines=wanted.lines)
    revisions.lock(connection)
    before = revisions.current(connection)
    wanted = project.scorers.candidate(connection, with_files=with_files)  # somebody else may have been faster
    return _write(project, connection, wanted, before, night, now)


def adjust(project: Project, now: datetime, *, may_remove: bool = True) -> Active:
    """What is active, without a draw: only a judge that came, and scorers that are not wanted any more, count at once.

    An upgraded database without a revision gets its first one, so that open jobs find their texts.

    Args:
        project: Whose settings.
        now: The time.
        may_remove: Whether scorers that are not wanted any more end; not for a command that draws nothing.

    Raises:
        SettingsError, RubricError: As `activate`.
    """
    with project.store.read() as connection:
        before = revisions.current(connection)
        if before is None and not draws.drawn_nights(connection, date.min):
            return Active([], project.settings.sampling, 0)
        if before is not None:
            if (trouble := _trouble(project, connection, before)) is not None:
                return as_stored(project, connection, before, trouble=trouble)
            scorers = revisions.active_scorers(connection)
            wanted = project.scorers.candidate(connection, with_files=False)
            if _adjusted(scorers, wanted, may_remove=may_remove) is None:
                return as_stored(project, connection, before)
    project.secret  # noqa: B018 stored before the transaction below
    with project.store.write() as connection:
        revisions.lock(connection)
        before = revisions.current(connection)
        wanted = project.scorers.candidate(connection, with_files=before is None)
        if before is None:
            return _write(project, connection, wanted, None, None, now)
        entries = _adjusted(revisions.active_scorers(connection), wanted, may_remove=may_remove)
        if entries is None:
            return as_stored(project, connection, before)
        return register_revision(project, connection, entries, before, now, by=this_process_name())


def register_revision(
    project: Project,
    connection: Connection,
    entries: "Sequence[Scorer | Registered]",
    before: Revision,
    now: datetime,
    *,
    by: str,
) -> Active:
    """Add a revision with other scorers and the same policy, outside of a draw.

    Args:
        project: Whose scorers.
        connection: Of a write transaction that has called `revisions.lock`.
        entries: The scorers; those that are not stored yet are.
        before: The revision in force.
        now: The time.
        by: Who does so.
    """
    digest = digest_of([entry.key for entry in entries], before.policy)
    changed = Candidate(entries, before.policy, (), (), digest)
    return _write(project, connection, changed, before, None, now, by=by)


def _adjusted(scorers: Sequence[Registered], wanted: Candidate, *, may_remove: bool) -> "list[Any] | None":
    """The active scorers without those that are not wanted, with the judge that came; None where nothing changes."""
    by_name = {entry.key.name: entry for entry in wanted.entries}
    entries: list[Any] = []
    is_changed = False
    for row in scorers:
        entry = by_name.get(row.key.name)
        if entry is None:
            is_changed |= may_remove
            entries += [] if may_remove else [row]
        elif row.is_judgeless and entry.key.spec.get("model") is not None:
            is_changed = True
            entries.append(entry)
        else:
            entries.append(row)
    return entries if is_changed else None


def _write(
    project: Project,
    connection: Connection,
    wanted: Candidate,
    before: Revision | None,
    night: date | None,
    now: datetime,
    *,
    by: str | None = None,
) -> Active:
    """Promote what rose, register scorers, and add a revision where it differs from the one in force."""
    by, lines = by or this_process_name(), list(wanted.lines)
    existing, former = enrol.registered(connection), revisions.active_scorers(connection)
    stored_hashes = {row.key.spec.get("rubric_hash") for row in existing}
    for risen in wanted.risen:
        why = UPGRADED if before is None and risen.text.hash in stored_hashes else risen.why
        proof = {"unproved": why}
        texts.promote(
            connection, risen.text, now=now, by=by, proof=proof, from_night=night, is_shipped=risen.is_shipped
        )
        if before is not None:
            since = "the next night" if night is None else f"night {night}"
            lines.append(f"{risen.text.name} {risen.text.version} is active from {since} on: {why}")
    new = [(entry.key, entry.applies_to) for entry in wanted.entries if not isinstance(entry, Registered)]
    adopted: list[Registered] = []
    added = enrol.register(connection, new, now, on_adopted=adopted.append)
    lines += [adopted_series_line(row.key) for row in adopted]
    lines += new_series_lines(existing, added)
    by_fingerprint = {row.key.fingerprint: row for row in added}
    rows = [
        entry if isinstance(entry, Registered) else by_fingerprint[entry.key.fingerprint] for entry in wanted.entries
    ]
    if before is None or before.digest != wanted.digest:
        lines += _changed_lines(former, rows, {row.pk for row in existing})
        before = revisions.add(
            connection,
            digest=wanted.digest,
            scorers=[row.pk for row in rows],
            policy=wanted.policy,
            from_night=night,
            now=now,
            by=by,
        )
    _know(project, before)
    return Active(rows, sampling_of(before.policy), before.number, lines)


def _changed_lines(former: Iterable[Registered], rows: Sequence[Registered], known: Collection[int]) -> list[str]:
    """One line for each active scorer that goes, and for each that is replaced by one of before: neither is new."""
    by_name = {row.key.name: row for row in rows}
    lines = []
    for was in former:
        name, row = was.key.name, by_name.get(was.key.name)
        if row is None:
            lines.append(
                f"{name} is not wanted any more: no night is drawn with it, and its open jobs are skipped until it is"
            )
        elif row.pk != was.pk and row.pk in known:
            lines.append(f"{name}: series {row.key.series} goes on, not compared with {was.key.series} of until now")
    return lines


def as_stored(
    project: Project,
    connection: Connection,
    revision: Revision,
    *,
    lines: Iterable[str] = (),
    trouble: str | None = None,
) -> Active:
    """What is active by the store alone."""
    scorers = revisions.active_scorers(connection)
    return Active(scorers, sampling_of(revision.policy), revision.number, tuple(lines), trouble)


def active_policy(project: Project) -> Active:
    """The active sampling policy alone, for who decides about late runs and leaves jobs to others."""
    with project.store.read() as connection:
        current = revisions.current(connection)
    if current is None:
        return Active([], project.settings.sampling, 0)
    return Active([], sampling_of(current.policy), current.number)


def sampling_of(policy: Mapping[str, Any]) -> SamplingSection:
    """The sampling policy that a revision holds; a field that this release does not know is left out."""
    return SamplingSection.model_validate({key: policy[key] for key in SamplingSection.model_fields if key in policy})


def _know(project: Project, revision: Revision) -> None:
    """This process has seen that its settings are those of a revision."""
    if project.known_revision is not None:
        project.known_revision = max(project.known_revision, revision.number)


def _trouble(project: Project, connection: Connection, current: Revision) -> str | None:
    """In what the settings of this process differ from what is active, where somebody else was later; else None."""
    if project.known_revision is None or current.number <= project.known_revision:
        return None
    wanted = project.scorers.candidate(connection, with_files=False)
    if wanted.digest == current.digest:
        _know(project, current)
        return None
    differences = _differences(wanted, revisions.active_scorers(connection), current)
    return (
        f"other settings than revision {current.number}, which {current.by} activated at {current.at:%d %b %H:%M} UTC: "
        f"{differences}; nights are drawn by that revision; start this process again with the settings that are meant"
    )


def _differences(wanted: Candidate, active: Sequence[Registered], current: Revision) -> str:
    """What differs, in words, at most five things."""
    here = {entry.key.name: entry.key for entry in wanted.entries}
    there = {row.key.name: row.key for row in active}
    said = [f"{name} is only here" for name in here if name not in there]
    said += [f"{name} is only there" for name in there if name not in here]
    for name in here:
        if name not in there or here[name].fingerprint == there[name].fingerprint:
            continue
        mine, other = here[name].spec, there[name].spec
        fields = [key for key in dict.fromkeys((*mine, *other)) if mine.get(key) != other.get(key)]
        said += [f"{name}: {key} is {_short(mine.get(key))} here, {_short(other.get(key))} there" for key in fields]
    said += [f"sampling.{key}" for key in wanted.policy if wanted.policy[key] != current.policy.get(key)]
    return "; ".join(said[:5]) or "the order of scorers"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
