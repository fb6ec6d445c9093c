"""A batch's rows to outcomes: what was answered is read as any reply is, what was not is asked again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

from worker.errors import JudgeError, VerdictUnreadable
from worker.jobs.batch.file import BatchOutput, BatchRowOut, custom_id, in_batch
from worker.jobs.outcome import failed, judgment_of, settled, settled_without
from worker.jobs.queue import ClaimedJob
from worker.jobs.reply_cache import answers_to_keep, can_reuse
from worker.judge.capabilities import CapabilityPlan
from worker.judge.failures import error_for, read_complaint
from worker.judge.wire.cut_prompt import without_cut
from worker.judge.wire.protocol import NoCompletion, Price, Wire
from worker.records import JudgeCall, Judging, Question, Reply, Scoring
from worker.scorers.rubric.scorer import RubricScorer
from worker.store.queue.failed_attempts import FailedAttemptCost
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

TIER = "batch"


class Read(NamedTuple):
    """What became of some jobs of a batch."""

    settled: list[Settled]
    again: list[Job]
    """Not answered, and so not billed."""
    wasted: list[Job]
    """Answered, and of no use: their run has changed meanwhile, or the answer is none."""
    doubtful: list[FailedAttemptCost]
    """Answered, and a second judge has to be asked, which no batch does."""
    judgings: list[Judging]
    """Of the calls that were answered."""

    @property
    def cost_usd(self) -> float:
        """What the answers cost, as far as known."""
        return sum(judging.cost_usd or 0.0 for judging in self.judgings)

    def cost_at_once_usd(self, price: Price) -> float:
        """What the same calls cost without a batch, as far as known."""
        total = 0.0
        for judging in self.judgings:
            if judging.input_tokens is not None and judging.output_tokens is not None:
                counts = (judging.input_tokens, judging.cached_tokens or 0, judging.output_tokens)
                total += price(judging.model_requested, *counts, None) or 0.0
        return total


def read_answers(
    work: Sequence[ClaimedJob], answers: BatchOutput, wire: Wire, plan: CapabilityPlan, price: Price, server: str | None
) -> Read:
    """Outcomes of some jobs of a batch.

    Args:
        work: Jobs with their runs as they are now.
        answers: The batch's rows.
        wire: How they are read.
        plan: How the questions were asked.
        price: Of a call in a batch.
        server: Whose answers are kept; None keeps none.
    """
    result = Read([], [], [], [], [])
    read_row = _reader(wire, plan, price)
    for claimed in work:
        try:
            _read_job(claimed, answers, result, read_row, server)
        except Exception as error:  # noqa: BLE001 one job's trouble must not cost the batch
            reason = f"scorer_error: {type(error).__name__}: {error}"
            result.settled.append(failed(claimed.job, reason, was_called=True))
    return result


_Reader = Callable[[BatchRowOut, Question], Reply | JudgeError | None]
"""Reads one row: a reply, what the server refused it for, or None where it made no call."""


def _read_job(work: ClaimedJob, answers: BatchOutput, result: Read, read_row: _Reader, server: str | None) -> None:
    """Add what became of one job to the result."""
    job, run, scorer = work.job, work.run, work.scorer
    if run is None:
        result.settled.append(failed(job, "pruned: the run's texts are gone", was_called=True))
        return
    assert isinstance(scorer, RubricScorer)
    prepared = scorer.prepare(run)
    if isinstance(prepared, Scoring):  # the run has changed
        result.settled.append(settled(job, run, scorer.key, prepared))
        return
    replies: list[Reply] = []
    calls: list[JudgeCall] = []
    has_failed = was_billed = False
    for index, question in enumerate(prepared.questions):
        row = answers.get(custom_id(job, run, index))
        reply = None if row is None else read_row(row, question)
        match reply:
            case Reply():
                replies.append(reply)
                calls.append(JudgeCall(question, reply))
                result.judgings.append(reply.judging)
            case VerdictUnreadable() if reply.reason != "bad_request":  # which may be about a parameter: asked again
                calls.append(JudgeCall(question, error=str(reply)))
                without = settled_without(job, run, scorer.key, reply.reason, was_called=False)
                result.settled.append(without._replace(judgment=judgment_of(scorer, run, calls)))
                return
            case _:
                has_failed = True
                was_billed |= row is not None and row.status == 200
    if has_failed:
        (result.wasted if was_billed or replies else result.again).append(job)
        return
    scoring = scorer.reader.read(prepared, replies)
    answers_kept = answers_to_keep(server, scoring) if server is not None and can_reuse(job) else {}
    outcome = settled(job, run, scorer.key, scoring)._replace(judgment=judgment_of(scorer, run, calls, scoring))
    if scorer.builder.second_questions(prepared, scoring):
        cost_usd = job.reserved_usd if outcome.cost_usd is None else outcome.cost_usd
        result.doubtful.append(FailedAttemptCost(job, cost_usd, answers_kept))
    else:
        result.settled.append(outcome._replace(answers=answers_kept))


def _reader(wire: Wire, plan: CapabilityPlan, price: Price) -> _Reader:
    def read(row: BatchRowOut, question: Question) -> Reply | JudgeError | None:
        if row.status == 200:
            _, effective = wire.body(in_batch(question), plan)
            try:
                reply = wire.read(row.body, question, effective, latency_ms=None, price=price, tier=TIER)
                return without_cut(reply, question.messages)
            except NoCompletion:
                return None
        if row.status == 0:
            return None  # never asked: expired, cancelled
        complaint = read_complaint(orjson.dumps(row.body, default=str))
        return error_for(
            row.status, complaint, judge="the batch lane", model=question.model, message="see the batch", wait_s=None
        )

    return read
