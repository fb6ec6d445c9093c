"""The scorers that settings and files ask for: what the next draw would be drawn with, and what is active now."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from worker.core.report.series import new_series_line
from worker.errors import ConfigError
from worker.project import candidate
from worker.project.candidate import Candidate
from worker.project.drafts import Drafts
from worker.project.heuristics import HeuristicSet
from worker.records import ScorerKey
from worker.settings import Settings
from worker.settings.sections_sampling import ScoringSection
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.rubrics import revisions
from worker.store.rubrics.texts import RubricText

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.scorers.protocol import Scorer

log = logging.getLogger("spotcheck")
_MAX_SETTINGS = 400
"""Characters of settings in a line of the log."""


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
        self.heuristics = HeuristicSet(settings.scoring, self._rubric_names)
        """The heuristics that are wanted, and those that are left out."""
        self.on_told: Callable[[str], None] = log.warning
        """Gets one line for each scorer that starts a new series, and for each file that does not become active."""
        self.drafts = Drafts(settings.prompts)
        """The rubric files, as they were read first; `reread` reads them again."""
        self._made: dict[tuple[str, str | None, bool], Scorer] = {}
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
        heuristics = self.heuristics.built
        self._secret()  # it may have to be stored, which a reading transaction cannot
        if connection is None:
            with self._store.read() as reading:
                now_active = candidate.situation(reading)
        else:
            now_active = candidate.situation(connection)
        self._check_names(now_active.texts)
        return candidate.choose(
            self._settings,
            now_active,
            heuristics,
            self.heuristics.broken,
            self.drafts,
            self.of_text,
            with_files=with_files,
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
            return tuple(self.heuristics.built.values())
        except ConfigError:
            return ()

    def _rubric_names(self) -> set[str]:
        """Names of the rubric files, which no other scorer may have; none is read where nothing is of a rubric."""
        is_wanted = self._settings.scoring.rubrics or self._settings.judge.budgets
        return self.drafts.names if is_wanted else set()

    def _check_names(self, active: Iterable[str]) -> None:
        """Lanes and budgets must name rubrics that exist: those with a file, or with an active text."""
        from worker.scorers.registry import check_name

        judge, wanted = self._settings.judge, self._settings.scoring.rubrics
        if not wanted and not judge.budgets and not judge.lanes:
            return
        known = dict.fromkeys(sorted({*self.drafts.names, *active}))
        for name in judge.lanes:
            check_name("judge.lanes", name, known)
        for name in judge.budgets:
            check_name("judge.budgets", name, known)

    def of_text(self, text: RubricText, model: str | None, *, redact: bool | None = None) -> "Scorer":
        """The scorer of a text under today's settings; made once, since compiling takes milliseconds.

        Args:
            text: Of the rubric.
            model: The judge where the text names none; None for no judge.
            redact: Whether secrets are taken out; None as the settings say.
        """
        from worker.core.rubric.parse import parse
        from worker.scorers.rubric.scorer import RubricScorer

        redact = self._settings.scoring.redact if redact is None else redact
        made = self._made.get((text.hash, model, redact))
        if made is None:
            judge = self._settings.judge
            made = self._made[text.hash, model, redact] = RubricScorer(
                parse(text.source, f"{text.name}@{text.version}", text.includes),
                model,
                self._secret(),
                redact=redact,
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
            adopted: list[Registered] = []
            with self._store.write() as writing:
                existing = enrol.registered(writing)
                added = enrol.register(writing, entries, self._store.now(writing), on_adopted=adopted.append)
            self.tell([*(adopted_series_line(row.key) for row in adopted), *new_series_lines(existing, added)])
            registered = {entry.key.fingerprint: entry for entry in added}
        return [(registered[scorer.key.fingerprint], scorer) for scorer in scorers]

    def active(self, connection: Connection | None = None) -> list[Registered]:
        """The active scorers; before the first draw those that it would enrol, with the key -1 where one is new.

        Reads no file and makes no scorer once there was a draw. Stores nothing.

        Args:
            connection: Where to read; None for a transaction of its own.

        Raises:
            SettingsError, RubricError: As `candidate`, before the first draw.
        """
        if connection is not None:
            stored = revisions.active_scorers(connection)
        else:
            with self._store.read() as reading:
                stored = revisions.active_scorers(reading)
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
        """Say what is wrong with settings and files, for a command that needs none of them.

        Nothing is read where a project has neither rubrics nor scorers of its own: those that are shipped are right.
        """
        try:
            if len(self.drafts.folders) == 1 and self._settings.scoring == ScoringSection():
                return
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


def new_series_lines(existing: Sequence[Registered], added: Sequence[Registered]) -> list[str]:
    """One line for each scorer that is new in the store while another version of it is there."""
    known = {entry.pk for entry in existing}
    lines = []
    for entry in added:
        earlier = [other.key for other in existing if other.key.name == entry.key.name]
        if entry.pk not in known and earlier:
            lines.append(new_series_line(earlier[-1], entry.key))
    return lines


def adopted_series_line(key: ScorerKey) -> str:
    """That the series of an earlier release goes on, and with which settings, in one line.

    Example:
        >>> key = ScorerKey(name="x", version="1", kind="heuristic", fingerprint="a", series="1")
        >>> adopted_series_line(key.model_copy(update={"spec": {"settings": {"most": 3}}}))
        'x: series 1 of an earlier release goes on, with the settings of now: {"most": 3}'
    """
    settings = json.dumps(key.spec.get("settings"), ensure_ascii=False, sort_keys=True)
    shown = settings if len(settings) <= _MAX_SETTINGS else f"{settings[: _MAX_SETTINGS - 1]}…"
    return f"{key.name}: series {key.series} of an earlier release goes on, with the settings of now: {shown}"
