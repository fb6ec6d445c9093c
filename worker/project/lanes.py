"""How a judge's jobs are asked: at once, or together in a batch at a lower price."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from worker.project.stored import StoredScorers
from worker.settings import Settings
from worker.settings.sections_judge import JudgeLane
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.scorers.protocol import Scorer


class Lanes:
    """Which of a project's jobs go to the batch lane."""

    def __init__(self, settings: Settings, store: Store, stored: StoredScorers) -> None:
        """Read nothing yet.

        Args:
            settings: Lanes by rubric, and whether there is a judge.
            store: Holds the jobs.
            stored: Makes the scorers of jobs.
        """
        self._settings, self._store, self._stored = settings, store, stored
        self.wanted: JudgeLane | None = None
        """How judges are asked where a command's option says so; None as the settings have it."""

    def is_batched(self, scorer: "Scorer", *, is_backfill: bool) -> bool:
        """Whether the jobs of a scorer go to the batch lane."""
        if not (self._settings.is_judge_configured and scorer.key.kind == "judge" and scorer.is_batchable):
            return False
        return (self.wanted or self._settings.judge.lane_of(scorer.key.name, is_backfill=is_backfill)) == "batch"

    def batched(
        self, rows: Iterable[Registered], *, is_backfill: bool, connection: Connection | None = None
    ) -> list[int]:
        """Keys of those scorers whose jobs go to the batch lane; empty where no judge is configured."""
        if not self._settings.is_judge_configured:
            return []
        judges = [row for row in rows if row.key.kind == "judge"]
        made, _ = self._stored.make(judges, connection)
        return [row.pk for row, scorer in made if self.is_batched(scorer, is_backfill=is_backfill)]

    def send(self, lane: JudgeLane) -> int:
        """Move what is queued for judges to another lane.

        Returns:
            Jobs that were moved.
        """
        with self._store.read() as connection:
            rows = enrol.scorers_with_open_jobs(connection, "judge")
        made, _ = self._stored.make(rows)
        pks = [row.pk for row, scorer in made if scorer.is_batchable]
        with self._store.write() as connection:
            return enrol.move_to_lane(connection, "batch" if lane == "batch" else "judge", pks)
