"""The batch lane: jobs that may wait a day are asked together, at half the price.

A batch goes filling → uploaded → running → collecting → done, and each step is written down before the next. A process
may die between any two: another one finds the row and goes on. It finds a batch that was started, and not written
down, by the name of its file, and collecting twice does no harm, since a job is settled once. What is missing at the
deadline, what the server does not support, and what it answered with an error, goes to the lane that asks at once.
"""

import logging
import time
from datetime import timedelta

from worker.errors import JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.jobs.batch.filling import AskNow, PlanOf
from worker.jobs.batch.held import Stopped
from worker.jobs.batch.turn import BatchTurn
from worker.jobs.capability_store import server_of
from worker.jobs.drain_result import DrainResult, OnProgress
from worker.jobs.queue import JobQueue, Stop
from worker.judge.batch_api import BatchGone, BatchServer, NoBatchLane
from worker.project.project import Project
from worker.store.queue import backlog, batches
from worker.store.queue.batches import Batch, BatchTaken

log = logging.getLogger("spotcheck")
_RETRY_S, _MAX_RETRY_S = 15.0, 900.0
"""Wait after a step that failed: 15 s, doubled each time, a quarter of an hour at most."""
_REFUSED_S = 300.0
"""Wait after the server refused our key, model or account."""


class BatchLane:
    """Moves one project's batches on. For one thread; any number of processes may do it at once."""

    def __init__(self, project: Project, ask_now: AskNow, plan_of: PlanOf) -> None:
        """Prepare; nothing is connected.

        Args:
            project: Whose batches; a judge is configured.
            ask_now: For the first question to a model that was never asked.
            plan_of: What a model is known to support.
        """
        self._project, self._ask_now, self._plan_of = project, ask_now, plan_of
        self._policy = project.settings.judge.batch
        self._server_name = server_of(project)
        self._server = BatchServer(project.settings.judge.base_url, project.settings.openai_api_key)

    def advance(self, budget_s: float, stop: Stop, on_progress: OnProgress) -> DrainResult:
        """Take every step that is due for existing batches, then make new ones of the jobs that are due.

        Args:
            budget_s: Seconds after which nothing more is begun.
            stop: Asked between chunks of work.
            on_progress: Told how many jobs were settled each time.

        Returns:
            What became of jobs, and the judge's refusal if there was one.

        Raises:
            StoreError: The database does not answer; the batches wait.
        """
        until = time.monotonic() + budget_s
        total = DrainResult()
        may_be_more = True
        while time.monotonic() < until and not stop() and not total.refused:
            row = self._due() or (self._new() if may_be_more else None)
            if row is None:
                break
            turn = BatchTurn(self._project, self._server, row, self._ask_now, self._plan_of, stop, on_progress)
            refused = self._work_on(turn)
            total += turn.done + DrainResult(refused=refused)
            may_be_more &= not turn.is_empty  # no money is left for what is due, or others claimed it
        return total

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _due(self) -> Batch | None:
        store = self._project.store
        with store.write() as connection:
            return batches.claim_due(connection, self._server_name, store.now(connection))

    def _new(self) -> Batch | None:
        """A new batch, where enough jobs are due, or the oldest of them has waited long enough for others."""
        store, clock = self._project.store, self._project.settings.clock
        for model, scorer_pks in JobQueue(self._project, "batch").scorers.by_model.items():
            if model is None:
                continue
            with store.read() as connection:
                now = store.now(connection)
                waiting = backlog.lane_backlog(connection, now, "batch", scorer_pks=scorer_pks)
                most = batches.max_jobs(connection, self._server_name, model, now, self._policy.max_jobs)
            oldest_at = now if waiting.oldest_at is None else clock.real(waiting.oldest_at)
            # while the clock stands still nobody can tell for how long a job has waited: it waits for no company
            is_old = not clock.is_running(now) or now - oldest_at >= timedelta(seconds=self._policy.gather_s)
            if waiting.due >= most or (waiting.due and is_old):
                with store.write() as connection:
                    return batches.start_batch(
                        connection,
                        self._server_name,
                        model,
                        now,
                        deadline_at=now + timedelta(hours=self._policy.deadline_h),
                    )
        return None

    def _work_on(self, turn: BatchTurn) -> str | None:
        """All steps that a batch can take now; what goes wrong postpones it, or ends it.

        Returns:
            The judge's refusal, where it refuses us altogether.
        """
        try:
            turn.run()
        except Stopped:
            turn.leave()
        except BatchTaken as taken:
            log.info("%s", taken)
        except VerdictUnreadable as error:
            if error.reason == "too_long" and turn.row.jobs > 1:
                turn.shrink(str(error))  # no request: a file that is too large
            else:
                turn.give_up(str(error), is_spent=False)
        except NoBatchLane as error:
            turn.give_up(str(error), is_spent=False)
        except BatchGone as error:
            turn.give_up(str(error), is_spent=True)
        except JudgeRefusesUs as error:
            turn.postpone(str(error), _REFUSED_S)
            return str(error)
        except JudgeUnavailable as error:
            wait_s = min(_MAX_RETRY_S, _RETRY_S * 2 ** min(turn.row.tries, 10))
            turn.postpone(str(error), max(wait_s, error.retry_after_s or 0.0))
        return None
