"""The scorers that settings and files ask for: what the next draw would be drawn with, and what is active now."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from worker.errors import ConfigError, SettingsError
from worker.project import candidate
from worker.project.candidate import Candidate
from worker.project.drafts import Drafts
from worker.records import ScorerKey
from worker.settings import Settings
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.rubrics import revisions
from worker.store.rubrics.texts import RubricText

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.scorers.heuristics.heuristic import Heuristic
    from worker.scorers.protocol import Scorer

log = logging.getLogger("spotcheck")


class ScorerSet:
    """The scorers that the next draw would enrol, beside those that are active in the store."""

    def __init__(self, settings: Settings, store: Store, secret: Callable[[], bytes]) -> None:
        """Build nothing yet.

        Args:
            settings: Which scorers are wanted, and how judges are asked.
            store: Holds what is active.
            secret: Gives the installation's secret; called when the first rubric is built.
        """
        self._settings, self._store, self._secret = settings, store, secret
        self.leaves_out_broken = False
        """Whether a custom scorer that cannot be loaded is logged and left out, as in a running worker; else it is an
        error."""
        self.on_told: Callable[[str], None] = log.warning
        """Gets one line for each scorer that starts a new series, and for each file that does not become active."""
        self.drafts = Drafts(settings.prompts)
        """The rubric files, as they were read first; `reread` reads them again."""
        self._broken: dict[str, str] = {}
        self._made: dict[tuple[str, str | None], Scorer] = {}
        self._told: set[str] = set()

    @property
    def prompt_folders(self) -> list[Path]:
        """Where rubrics come from, a later folder's laid over an earlier one's: the shipped ones, then the user's.

        Raises:
            SettingsError: The folder that the settings name does not exist.
        """
        return self.drafts.folders

    def reread(self) -> None:
        """Read the rubric files again when they are next asked for."""
        self.drafts = Drafts(self._settings.prompts)

    def candidate(self, connection: Connection | None = None, *, with_files: bool = True) -> Candidate:
        """What the next draw would be drawn with.

        Args:
            connection: Where to read what is active; None for a transaction of its own.
            with_files: Whether a file whose version rose may become active.

        Raises:
            SettingsError: A name is unknown; the message lists those that exist.
            RubricError: A rubric is wanted for the first time, and its file is wrong.
        """
        heuristics = self._heuristics
        self._secret()  # it may have to be stored, which a reading transaction cannot
        if connection is None:
            with self._store.read() as reading:
                now_active = candidate.situation(reading)
        else:
            now_active = candidate.situation(connection)
        self._check_names(now_active.texts)
        return candidate.choose(
            self._settings, now_active, heuristics, self._broken, self.drafts, self._rubric, with_files=with_files
        )

    @property
    def all(self) -> "tuple[Scorer, ...]":
        """The scorers of the candidate that can be made here, heuristics first, in a stable order.

        Raises:
            SettingsError: A name is unknown; the message lists those that exist.
            RubricError: A rubric is wanted for the first time, and its file is wrong.
        """
        return tuple(entry for entry in self.candidate().entries if not isinstance(entry, Registered))

    def configured(self, connection: Connection | None = None) -> "tuple[Scorer, ...]":
        """As `all`, for those who work on jobs: where a setting or file is wrong, what can be made all the same."""
        try:
            entries = self.candidate(connection).entries
            return tuple(entry for entry in entries if not isinstance(entry, Registered))
        except ConfigError:
            pass
        try:
            return tuple(self._heuristics.values())
        except ConfigError:
            return ()

    @cached_property
    def _heuristics(self) -> "Mapping[str, Heuristic]":
        from worker.scorers.registry import build

        return build(self._settings.scoring, self._leave_out if self.leaves_out_broken else None)

    def _leave_out(self, name: str, why: str) -> None:
        self._broken[name] = why
        log.error("%s; its jobs wait, other scorers go on; mend it and restart the worker", why)

    def _check_names(self, active: Iterable[str]) -> None:
        """Lanes and budgets must name rubrics that exist, and no rubric may have the name of another scorer.

        A rubric exists where it has a file, or an active text: its file may be gone while it scores.
        """
        from worker.scorers.registry import check_name

        judge, wanted = self._settings.judge, self._settings.scoring.rubrics
        if not wanted and not judge.budgets and not judge.lanes:
            return
        known = dict.fromkeys(sorted({*self.drafts.names, *active}))
        for name in judge.lanes:
            check_name("judge.lanes", name, known)
        for name in judge.budgets:
            check_name("judge.budgets", name, known)
        for name in sorted({*known} & {*self._heuristics, *self._broken}):
            raise SettingsError(f"scorer {name!r}: there is a rubric of that name; choose another")

    def _rubric(self, text: RubricText, model: str | None) -> "Scorer":
        """The scorer of a text under today's settings; made once, since compiling takes milliseconds."""
        from worker.core.rubric.parse import parse
        from worker.scorers.rubric.scorer import RubricScorer

        made = self._made.get((text.hash, model))
        if made is None:
            judge = self._settings.judge
            made = self._made[text.hash, model] = RubricScorer(
                parse(text.source, f"{text.name}@{text.version}", text.includes),
                model,
                self._secret(),
                redact=self._settings.scoring.redact,
                repair=judge.repair,
                is_routed=judge.base_url is None,  # None is OpenAI's own server
            )
        return made

    def register(self) -> "list[tuple[Registered, Scorer]]":
        """The scorers of `all` with their keys in the store; new ones are written there."""
        scorers = self.all
        entries = [(scorer.key, scorer.applies_to) for scorer in scorers]
        with self._store.read() as reading:
            existing = enrol.registered(reading)
        registered = {entry.key.fingerprint: entry for entry in existing}
        if not all(key.fingerprint in registered for key, _ in entries):
            with self._store.write() as writing:
                added = enrol.register(writing, entries, self._store.now(writing))
            registered = {entry.key.fingerprint: entry for entry in added}
        return [(registered[scorer.key.fingerprint], scorer) for scorer in scorers]

    def active(self) -> list[Registered]:
        """The active scorers; before the first draw those that it would enrol, with the key -1 where one is new.

        Reads no file and makes no scorer once there was a draw. Stores nothing.

        Raises:
            SettingsError, RubricError: As `candidate`, before the first draw.
        """
        with self._store.read() as connection:
            stored = revisions.active_scorers(connection)
        return stored or self.next()

    def next(self) -> list[Registered]:
        """The scorers that the next draw would enrol, without storing any; the key of one that is new is -1."""
        keys = self.candidate().keys
        with self._store.read() as connection:
            existing = enrol.registered(connection)
        return [enrol.stored_as(existing, key) or Registered(-1, key, applies_to) for key, applies_to in keys]

    def unstored(self) -> "list[tuple[Registered, Scorer]]":
        """What the next draw would enrol and can be made here, as `next` gives it, with the scorers."""
        scorers = self.all
        with self._store.read() as connection:
            existing = enrol.registered(connection)
        return [
            (enrol.stored_as(existing, scorer.key) or Registered(-1, scorer.key, scorer.applies_to), scorer)
            for scorer in scorers
        ]

    def tell_warnings(self) -> None:
        """Say what is wrong with settings and files, for a command that needs none of them."""
        try:
            lines = self.candidate().lines
        except ConfigError as error:
            lines = (str(error),)
        self.tell(lines)

    def tell(self, lines: Iterable[str]) -> None:
        """Say each line once."""
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                self.on_told(line)

    def new_series_lines(self, existing: Sequence[Registered], added: Sequence[Registered]) -> list[str]:
        """One line for each scorer that is new in the store while another version of it is there."""
        known = {entry.pk for entry in existing}
        lines = []
        for entry in added:
            earlier = [other.key for other in existing if other.key.name == entry.key.name]
            if entry.pk not in known and earlier:
                lines.append(new_series_line(earlier[-1], entry.key))
        return lines


def new_series_line(before: ScorerKey, after: ScorerKey) -> str:
    """That a scorer starts a new series, and which parts of it changed, in one line.

    Example:
        >>> old = ScorerKey(name="x", version="1", kind="heuristic", fingerprint="a" * 16, spec={"settings": 0})
        >>> new_series_line(old, old.model_copy(update={"series": "1+bbbbbbbb", "spec": {"settings": 1}}))
        'x: new series 1+bbbbbbbb, not compared with 1+aaaaaaaa; changed: settings'
    """
    names = dict.fromkeys((*after.spec, *before.spec))
    changed = [name for name in names if before.spec.get(name) != after.spec.get(name)]
    line = f"{after.name}: new series {after.series}, not compared with {before.series}"
    return f"{line}; changed: {', '.join(changed)}" if changed else line
