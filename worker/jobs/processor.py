"""Works off the job queue in one process: one `JobProcessor` a lane, from turn to turn.

The way of a claimed job, at the judge lane; the other two take the same steps:

    claim    `queue.JobQueue.claim`: due jobs are leased to this process in one transaction, money is reserved, and
             their runs are loaded. `judge_loop.claim_size` says how many: enough that no call slot stays free.
    prepare  `in_flight.InFlight.start` gives each job a task, in which `scorers.rubric.scorer.RubricScorer.prepare`
             checks whether the run can be judged at all, digests and redacts it, and builds the questions.
    ask      `metered_ask.MeteredAsk`, for each question: first the kept answers (`reply_cache`), then the judge
             (`judge.retrying`, which waits for its turn in `judge.limits.call_queue`). The scorer reads the replies.
    settle   `outcome.settled` turns the verdict into score rows, `outcome_buffer.OutcomeBuffer` collects them, and
             `queue.JobQueue.settle` stores rows, cost and answers, and ends the job, in one transaction.

What does not get that far: a call without an answer waits in `outage.UndecidedCalls` until it is known whether its run
or the judge is to blame, and is then tried again later or released untried; a stop releases what has not begun; a
process that dies leaves leases that run out. Jobs of the batch lane are prepared in `batch/filling`, asked in
`batch/turn` and settled in `batch/collecting`; heuristics are scored and settled in `heuristic_loop`.

A judge client belongs to one event loop, and neither survives a fork: make a processor in the process that uses it.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType

from worker.errors import JudgeError, StoreError
from worker.jobs.batch.lane import BatchLane
from worker.jobs.capability_store import load_plans, plan_writer
from worker.jobs.drain_result import DrainResult, OnProgress, ignore_progress
from worker.jobs.heuristic_loop import drain_heuristics
from worker.jobs.in_flight import score_one
from worker.jobs.judge_loop import drain_judge
from worker.jobs.metered_ask import MeteredAsk
from worker.jobs.outcome_buffer import OutcomeBuffer
from worker.jobs.queue import ClaimedJob, JobQueue, Stop
from worker.jobs.quota_share import Share, quota_of
from worker.jobs.rate_report import RateReporter
from worker.jobs.reply_cache import ReplyCache
from worker.judge.client import ChatJudge
from worker.judge.missing_models import MissingModels
from worker.judge.retrying import PacedJudge
from worker.project.project import Project
from worker.project.stored import Unavailable
from worker.records.job import ASKED, SCORER_KINDS
from worker.scorers.protocol import Scorer
from worker.store.queue.enrol import Registered

log = logging.getLogger("spotcheck")
BATCH_S = 60.0
"""Length of a turn at a lane: its fixed costs are small beside it, and a process that is told to stop ends soon."""


def _never() -> bool:
    return False


class JobProcessor:
    """Drains lanes of one project in this process. Close it in the thread that used it."""

    def __init__(self, project: Project, *, share: Share | None = None) -> None:
        """Prepare; connections are opened when first needed.

        Args:
            project: Whose lanes.
            share: How workers share the judge's quota; None where each keeps to its part.
        """
        self.project = project
        self.unavailable: dict[str, list[Unavailable]] = {}
        """By lane, the scorers of open jobs that this process could not make at its last turn; their jobs wait."""
        self.missing_models = MissingModels()
        """Models that this process's server does not have; their jobs are left to others."""
        self.wanted_models: dict[str, frozenset[str]] = {}
        """By lane, the models that its open jobs asked for at the last turn."""
        self._share = share
        self._runner: asyncio.Runner | None = None
        self._judge: PacedJudge | None = None
        self._batches: BatchLane | None = None
        self._unwritten: list[OutcomeBuffer] = []
        """What the last turn at the judge's lane could not store: it was paid for."""
        self._reporter = RateReporter(project)
        self._answers = ReplyCache(project) if project.settings.judge.answers_days else None

    def drain(
        self, lane: str, *, budget_s: float = BATCH_S, stop: Stop = _never, on_progress: OnProgress = ignore_progress
    ) -> DrainResult:
        """Work off what is due in a lane.

        Args:
            lane: `heuristic`, `judge` or `batch`.
            budget_s: Seconds after which no more is claimed.
            stop: Asked often; once true, the work in hand is finished or given back within a few seconds.
            on_progress: Told how many jobs were settled each time.

        Raises:
            SettingsError: A budget is set that cannot be kept.
            StoreError: The database does not answer; leases run out and others take over.
        """
        queue = JobQueue(self.project, lane)
        self.unavailable[lane] = queue.unavailable
        self.wanted_models[lane] = queue.scorers.models
        if queue.scorers.is_empty:
            return DrainResult()
        if lane == "batch":
            return self._drain_batches(queue, budget_s, stop, on_progress)
        if lane == "heuristic":
            return drain_heuristics(queue, budget_s=budget_s, stop=stop, on_progress=on_progress)
        return self._drain_judge(queue, budget_s, stop, on_progress)

    def score_run(
        self, run_pk: int, entries: Sequence[tuple[Registered, Scorer]], *, budget_s: float = BATCH_S, stop: Stop
    ) -> DrainResult:
        """Work off what is due of one run: what a person asked for, and what its night has queued.

        Args:
            run_pk: Key of the run.
            entries: Scorers whose jobs are done.
            budget_s: Seconds after which no more is claimed.
            stop: Asked often.
        """
        total = DrainResult()
        for kind in SCORER_KINDS:
            own = [entry for entry in entries if entry[0].key.kind == kind]
            for lane in (kind, ASKED) if own else ():
                queue = JobQueue(self.project, lane, entries=own, run_pk=run_pk)
                if kind == "heuristic":
                    total += drain_heuristics(queue, budget_s=budget_s, stop=stop)
                else:
                    total += self._drain_judge(queue, budget_s, stop, ignore_progress)
        return total

    def _drain_judge(self, queue: JobQueue, budget_s: float, stop: Stop, on_progress: OnProgress) -> DrainResult:
        self.project.prices.check(queue.scorers.all)
        judge = self._judging()
        turn = drain_judge(
            queue,
            judge,
            concurrency=self.project.settings.judge.concurrency,
            budget_s=budget_s,
            stop=stop,
            on_progress=on_progress,
            answers=self._answers,
            missing=self.missing_models,
            unwritten=self._unwritten,
        )
        if judge is not None:
            turn = self._reporter.report_while(turn, judge.queue, queue.scorers.models)
        return self._loop().run(turn)

    def drain_all(
        self,
        lanes: Iterable[str],
        *,
        budget_s: float = BATCH_S,
        stop: Stop = _never,
        on_progress: OnProgress = ignore_progress,
    ) -> DrainResult:
        """Work off several lanes, one after the other."""
        total = DrainResult()
        for lane in lanes:
            if not stop():
                total += self.drain(lane, budget_s=budget_s, stop=stop, on_progress=on_progress)
        return total

    def judge_silent_s(self) -> float | None:
        """Seconds without one answer beyond the rest that the judge was granted; None while it is not known down."""
        return None if self._judge is None else self._judge.silent_s()

    def _drain_batches(self, queue: JobQueue, budget_s: float, stop: Stop, on_progress: OnProgress) -> DrainResult:
        judge = self._judging()
        if judge is None:
            return DrainResult()
        self.project.prices.check(queue.scorers.all)
        if self._batches is None:
            self._batches = BatchLane(self.project, self._ask_now, judge.plan)
        return self._batches.advance(budget_s, stop, on_progress)

    def _ask_now(self, queue: JobQueue, work: ClaimedJob) -> None:
        """Score one claimed job at once, and store what came of it.

        Raises:
            JudgeUnavailable, JudgeRefusesUs: The judge answers nobody; the job stays claimed.
        """
        judge = self._judging()
        assert judge is not None
        ask = MeteredAsk(judge, work.job, self._answers)
        try:
            queue.settle([self._loop().run(score_one(work, ask))])
        except JudgeError as error:
            queue.book([ask.failed_cost(error)])
            raise

    def _loop(self) -> asyncio.Runner:
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner

    def _judging(self) -> PacedJudge | None:
        settings = self.project.settings
        if not settings.is_judge_configured:
            return None
        if self._judge is None:
            self._judge = PacedJudge(
                ChatJudge(
                    settings.judge.base_url,
                    settings.openai_api_key,
                    timeout_s=settings.judge.timeout_s,
                    concurrency=settings.judge.concurrency,
                    price=self.project.prices.price,
                    remembered=load_plans(self.project, datetime.now(UTC)),
                    on_plan=plan_writer(self.project),
                    quota=quota_of(self.project, self._share),
                )
            )
        return self._judge

    def close(self) -> None:
        """Close the judge's connections and the loop; what could not be stored is tried once more."""
        self._store_last()
        if self._batches is not None:
            self._batches.close()
            self._batches = None
        if self._runner is not None:
            if self._judge is not None:
                self._runner.run(self._judge.close())
            self._runner.close()
            self._reporter.end()
        self._runner = self._judge = None

    def _store_last(self) -> None:
        try:
            while self._unwritten:
                self._loop().run(self._unwritten[0].flush(DrainResult()))
                self._unwritten.pop(0)
        except StoreError as error:
            lost = sum(buffer.answered for buffer in self._unwritten)
            log.error("%d verdicts could not be stored, and will be asked for again: %s", lost, error)
            self._unwritten.clear()

    def __enter__(self) -> "JobProcessor":
        """Use it in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
