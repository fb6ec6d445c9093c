"""The scorers of one project: built from the settings and the prompts folders, and registered in the store."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping

from worker.core.report.series import new_series_line
from worker.errors import SettingsError
from worker.project.heuristics import HeuristicSet
from worker.records import Reference, ScorerKey
from worker.settings import Settings
from worker.settings.sections_judge import JudgeLane
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.runs import references

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.core.rubric.parse import Rubric
    from worker.scorers.protocol import Context, Scorer

log = logging.getLogger("spotcheck")
_MAX_SETTINGS = 400
"""Characters of settings in a line of the log."""


class ScorerSet:
    """The scorers in force, with their keys in the store and the lanes of their jobs."""

    def __init__(self, settings: Settings, store: Store, secret: Callable[[], bytes]) -> None:
        """Build nothing yet.

        Args:
            settings: Which scorers are in force, and how judges are asked.
            store: Where scorers are registered.
            secret: Gives the installation's secret; called when the first rubric is built.
        """
        self._settings, self._store, self._secret = settings, store, secret
        self.lane: JudgeLane | None = None
        """How judges are asked where a command's option says so; None as the settings have it."""
        self.heuristics = HeuristicSet(settings.scoring, lambda: self._rubrics)
        """The heuristics in force, and those that are left out."""
        self.on_new_series: Callable[[str], None] = log.info
        """Gets one line for each scorer that starts a new series, or takes over that of a release, in `register`."""

    @cached_property
    def prompt_folders(self) -> list[Path]:
        """Where rubrics come from, a later folder's laid over an earlier one's: the shipped ones, then the user's.

        Raises:
            SettingsError: The folder that the settings name does not exist.
        """
        from worker.scorers.rubric.files import shipped_prompts

        configured = self._settings.prompts
        if configured is not None:
            if not Path(configured).is_dir():
                raise SettingsError(f"SPOTCHECK_PROMPTS: folder {configured!r} does not exist")
            return [shipped_prompts(), Path(configured)]
        beside = Path("prompts")
        is_other = beside.is_dir() and beside.resolve() != shipped_prompts().resolve()
        return [shipped_prompts(), beside] if is_other else [shipped_prompts()]

    @cached_property
    def all(self) -> "tuple[Scorer, ...]":
        """The scorers in force, heuristics first, in a stable order.

        Raises:
            SettingsError: A name is unknown; the message lists those that exist.
            RubricError: A rubric in force is wrong.
        """
        return (*self.heuristics.built.values(), *self.judges)

    @cached_property
    def judges(self) -> "tuple[Scorer, ...]":
        """One scorer for each rubric in force. No custom scorer is imported for them.

        Raises:
            SettingsError: A rubric, a lane or a budget names a rubric that does not exist.
            RubricError: A rubric is wrong.
        """
        from worker.scorers.registry import check_name
        from worker.scorers.rubric.scorer import RubricScorer

        policy, judge, rubrics = self._settings.scoring, self._settings.judge, self._rubrics
        model = judge.model if self._settings.is_judge_configured else None
        return tuple(
            RubricScorer(
                rubrics[check_name("scoring.rubrics", name, rubrics)],
                model,
                self._secret(),
                redact=policy.redact,
                repair=judge.repair,
                is_routed=judge.base_url is None,  # None is OpenAI's own server
            )
            for name in policy.rubrics
        )

    @cached_property
    def _rubrics(self) -> "Mapping[str, Rubric]":
        """All rubrics that there are, in force or not; lanes and budgets must name some that exist.

        Nothing is loaded where neither a scorer nor a budget is of a rubric.
        """
        from worker.scorers.registry import check_name
        from worker.scorers.rubric.files import load

        judge = self._settings.judge
        if not self._settings.scoring.rubrics and not judge.budgets:
            return {}
        rubrics = load(self.prompt_folders)
        for name in judge.lanes:
            check_name("judge.lanes", name, rubrics)
        for name in judge.budgets:
            check_name("judge.budgets", name, rubrics)
        return rubrics

    def register(self) -> "list[tuple[Registered, Scorer]]":
        """The scorers in force that can score, with their keys in the store; new ones are written there."""
        entries = [(scorer.key, scorer.applies_to) for scorer in self.all]
        with self._store.read() as connection:
            existing = enrol.registered(connection)
        registered = {entry.key.fingerprint: entry for entry in existing}
        if not all(key.fingerprint in registered for key, _ in entries):
            adopted: list[Registered] = []
            with self._store.write() as connection:
                existing = enrol.registered(connection)
                now = self._store.now(connection)
                added = enrol.register(connection, entries, now, on_adopted=adopted.append)
            for entry in adopted:
                self.on_new_series(adopted_series_line(entry.key))
            self._report_new_series(existing, added)
            registered = {entry.key.fingerprint: entry for entry in added}
        return [(registered[scorer.key.fingerprint], scorer) for scorer in self.all]

    def in_force(self) -> list[Registered]:
        """What looks at new nights: the scorers of `register`, and the last series of those that cannot be loaded.

        The jobs of the latter wait until somebody mends them: then either the same code scores them, or, where the code
        changed, its new series takes the open nights over, as a changed rubric does.
        """
        loaded = [registered for registered, _ in self.register()]
        if not self.heuristics.broken:
            return loaded
        with self._store.read() as connection:
            return loaded + _last_of(self.heuristics.broken, enrol.registered(connection))

    def in_force_unstored(self) -> list[Registered]:
        """What `in_force` gives, without storing anything: a command that only reads must start or take over no series.

        The key of a scorer that is not stored yet is -1.
        """
        with self._store.read() as connection:
            existing = enrol.registered(connection)
        return [registered for registered, _ in _as_stored(self.all, existing)] + _last_of(
            self.heuristics.broken, existing
        )

    def unstored(self) -> "list[tuple[Registered, Scorer]]":
        """What `register` gives, without storing anything; the key of a scorer that is not stored yet is -1."""
        with self._store.read() as connection:
            return _as_stored(self.all, enrol.registered(connection))

    def _report_new_series(self, existing: Sequence[Registered], added: Sequence[Registered]) -> None:
        """One line for each scorer that is new in the store while another version of it is there."""
        known = {entry.pk for entry in existing}
        for entry in added:
            earlier = [other.key for other in existing if other.key.name == entry.key.name]
            if entry.pk not in known and earlier:
                self.on_new_series(new_series_line(earlier[-1], entry.key))

    def in_batches(self, *, is_backfill: bool) -> list[int]:
        """Store keys of the scorers whose jobs go to the batch lane; empty where no judge is configured."""
        return [
            registered.pk for registered, scorer in self.register() if self.is_batched(scorer, is_backfill=is_backfill)
        ]

    def is_batched(self, scorer: "Scorer", *, is_backfill: bool) -> bool:
        """Whether the jobs of a scorer go to the batch lane."""
        if not (self._settings.is_judge_configured and scorer.key.kind == "judge" and scorer.is_batchable):
            return False
        return (self.lane or self._settings.judge.lane_of(scorer.key.name, is_backfill=is_backfill)) == "batch"

    def send(self, lane: JudgeLane) -> int:
        """Move what is queued for a judge to another lane.

        Returns:
            Jobs that were moved.
        """
        pks = [registered.pk for registered, scorer in self.register() if scorer.is_batchable]
        with self._store.write() as connection:
            return enrol.move_to_lane(connection, "batch" if lane == "batch" else "judge", pks)

    def contexts(self, nights_and_types: set[tuple[date, str]]) -> "dict[tuple[date, str], Context]":
        """What scorers may know besides a run, by night and task type; without a way to a judge."""
        with self._store.read() as connection:
            rows = references.references(connection, sorted({night for night, _ in nights_and_types}))
        from worker.scorers.protocol import Context

        return {pair: Context(reference=reference_of(rows.get(pair))) for pair in nights_and_types}


def _as_stored(scorers: "Sequence[Scorer]", existing: Sequence[Registered]) -> "list[tuple[Registered, Scorer]]":
    """Each scorer with its row; with the key -1 where it has none yet."""
    return [
        (enrol.stored_as(existing, scorer.key) or Registered(-1, scorer.key, scorer.applies_to), scorer)
        for scorer in scorers
    ]


def _last_of(names: Iterable[str], existing: Sequence[Registered]) -> list[Registered]:
    """The newest row of each name that has one."""
    stored = {entry.key.name: entry for entry in existing}
    return [stored[name] for name in names if name in stored]


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


def reference_of(row: RowMapping | None) -> Reference | None:
    """A stored reference as a record; None when there is none."""
    if row is None:
        return None
    return Reference(**{name: row[name] for name in Reference._fields})
