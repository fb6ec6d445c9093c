"""Scorers made from what the store holds: a job is scored by the scorer it was enrolled with, whatever a file says."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection

from worker.errors import ConfigError
from worker.settings import Settings
from worker.store.engine import Store
from worker.store.queue.enrol import Registered, stored_as
from worker.store.rubrics import texts
from worker.store.rubrics.texts import RubricText

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.core.rubric.parse import Rubric
    from worker.scorers.protocol import Scorer


class Unavailable(NamedTuple):
    """A stored scorer that this process cannot make."""

    scorer: Registered
    why: str
    """One line."""


def unavailable_line(entries: Iterable[Unavailable]) -> str | None:
    """What a process cannot score, in one line; None where there is nothing."""
    told = [f"cannot score {entry.scorer.key.name} {entry.scorer.key.series}: {entry.why}" for entry in entries]
    return "; ".join(told[:3]) or None


class StoredScorers:
    """The scorers of this process by their keys in the store; each is made once.

    A heuristic is code: it is made with the settings that its row holds, and is the stored one only where this
    program's code gives it the same fingerprint. A rubric's text comes from the store, or from a file with the same
    hash where the store is of a release that kept no texts.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        secret: Callable[[], bytes],
        configured: "Callable[[Connection | None], Sequence[Scorer]]",
        drafts: "Callable[[], Mapping[str, Rubric]]",
        broken: Callable[[], Mapping[str, str]],
    ) -> None:
        """Make nothing yet.

        Args:
            settings: Where custom scorers are, and how questions are sent.
            store: Holds the texts.
            secret: Gives the installation's secret.
            configured: Gives the scorers that the settings and files name and that can be made.
            drafts: Gives the rubrics of the prompts folders, by name.
            broken: Gives custom scorers that cannot be loaded, with the reason; they are not tried again.
        """
        self._settings, self._store, self._secret = settings, store, secret
        self._configured, self._drafts, self._broken = configured, drafts, broken
        self._made: dict[int, Scorer] = {}

    def make(
        self, rows: Sequence[Registered], connection: Connection | None = None
    ) -> "tuple[list[tuple[Registered, Scorer]], list[Unavailable]]":
        """The scorers of these rows, and those of them that cannot be made here.

        Args:
            rows: As they are stored.
            connection: Where to read their texts; None for a transaction of its own.
        """
        missing = [row for row in rows if row.pk not in self._made]
        hashes = [str(row.key.spec["rubric_hash"]) for row in missing if "rubric_hash" in row.key.spec]
        stored: Mapping[str, RubricText] = {}
        if hashes and connection is not None:
            stored = texts.texts_of(connection, hashes)
        elif hashes:
            with self._store.read() as reading:
                stored = texts.texts_of(reading, hashes)
        unavailable: dict[int, Unavailable] = {}
        configured = self._configured(connection) if missing else ()
        for row in missing:
            made = self._make(row, configured, stored)
            if isinstance(made, str):
                unavailable[row.pk] = Unavailable(row, made)
            else:
                self._made[row.pk] = made
        return [(row, self._made[row.pk]) for row in rows if row.pk in self._made], list(unavailable.values())

    def _make(
        self, row: Registered, configured: "Sequence[Scorer]", stored: Mapping[str, RubricText]
    ) -> "Scorer | str":
        """The scorer of a row; or why it cannot be made, in one line."""
        found = next((scorer for scorer in configured if stored_as([row], scorer.key) is not None), None)
        if found is not None:
            return found
        if row.key.kind == "heuristic" and row.key.name in self._broken():
            return self._broken()[row.key.name]
        try:
            made = self._rubric(row, stored) if row.key.kind == "judge" else self._heuristic(row)
        except (ConfigError, KeyError) as error:
            return str(error) or type(error).__name__
        if made is None:
            return "its text is not in the store, and no file of the prompts folder holds it"
        if made.key.fingerprint != row.key.fingerprint:
            return "this program measures otherwise: it is of another release, or its code was changed"
        return made

    def _heuristic(self, row: Registered) -> "Scorer":
        from worker.scorers.registry import rebuild

        return rebuild(row.key.name, row.key.spec, self._settings.scoring)

    def _rubric(self, row: Registered, stored: Mapping[str, RubricText]) -> "Scorer | None":
        from worker.core.rubric.parse import identity
        from worker.scorers.rubric.stored import rebuild

        spec = row.key.spec
        text = stored.get(str(spec["rubric_hash"]))
        is_routed = self._settings.judge.base_url is None  # None is OpenAI's own server
        if text is not None:
            return rebuild(text.source, text.includes, row.key, self._secret(), is_routed=is_routed)
        draft = self._drafts().get(row.key.name)
        if draft is None or identity(draft) != spec["rubric_hash"]:
            return None
        return rebuild(draft.source, draft.includes, row.key, self._secret(), is_routed=is_routed)
