"""The scorers of one project: built from the settings and the prompts folders, and registered in the store."""

import difflib
from collections.abc import Callable, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping

from worker.errors import SettingsError
from worker.records import Reference
from worker.settings import Settings
from worker.settings.sections_judge import JudgeLane
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.runs import references

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.scorers.protocol import Context, Scorer


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
        from worker.scorers.registry import SCORERS

        configured = self._settings.scoring.heuristics
        names = tuple(SCORERS) if configured is None else configured
        heuristics = [SCORERS[_checked("scoring.heuristics", name, SCORERS)] for name in names]
        return (*heuristics, *self._rubric_scorers())

    def _rubric_scorers(self) -> "list[Scorer]":
        """One scorer for each rubric in force; lanes and budgets must name rubrics that exist."""
        from worker.scorers.rubric.files import load
        from worker.scorers.rubric.scorer import RubricScorer

        policy, judge = self._settings.scoring, self._settings.judge
        if not policy.rubrics and not judge.budgets:
            return []
        rubrics = load(self.prompt_folders)
        for name in judge.lanes:
            _checked("judge.lanes", name, rubrics)
        for name in judge.budgets:
            _checked("judge.budgets", name, rubrics)
        model = judge.model if self._settings.is_judge_configured else None
        return [
            RubricScorer(
                rubrics[_checked("scoring.rubrics", name, rubrics)],
                model,
                self._secret(),
                redact=policy.redact,
                repair=judge.repair,
                is_routed=judge.base_url is None,  # None is OpenAI's own server
            )
            for name in policy.rubrics
        ]

    def register(self) -> "list[tuple[Registered, Scorer]]":
        """The scorers in force with their keys in the store; new ones are written there."""
        entries = [(scorer.key, scorer.applies_to) for scorer in self.all]
        with self._store.read() as connection:
            registered = {entry.key.fingerprint: entry for entry in enrol.registered(connection)}
        if not all(key.fingerprint in registered for key, _ in entries):
            with self._store.write() as connection:
                added = enrol.register(connection, entries, self._store.now(connection))
            registered = {entry.key.fingerprint: entry for entry in added}
        return [(registered[scorer.key.fingerprint], scorer) for scorer in self.all]

    def in_batches(self, *, is_backfill: bool) -> list[int]:
        """Store keys of the scorers whose jobs go to the batch lane; empty where no judge is configured."""
        if not self._settings.is_judge_configured:
            return []
        lane_of = self._settings.judge.lane_of
        return [
            registered.pk
            for registered, scorer in self.register()
            if registered.key.kind == "judge"
            and scorer.is_batchable
            and (self.lane or lane_of(registered.key.name, is_backfill=is_backfill)) == "batch"
        ]

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

        schemas = self._settings.scoring.schemas
        return {
            pair: Context(reference=reference_of(rows.get(pair)), answer_schema=schemas.get(pair[1]))
            for pair in nights_and_types
        }


def reference_of(row: RowMapping | None) -> Reference | None:
    """A stored reference as a record; None when there is none."""
    if row is None:
        return None
    return Reference(**{name: row[name] for name in Reference._fields})


def _checked(setting: str, name: str, allowed: Mapping[str, object]) -> str:
    """The name, if it is allowed.

    Raises:
        SettingsError: It is not; the message names the nearest one, or all.
    """
    if name in allowed:
        return name
    near = difflib.get_close_matches(name, list(allowed), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(allowed)}"
    raise SettingsError(f"{setting}: {name!r} is not known{hint}")
