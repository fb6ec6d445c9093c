"""A batch's rows to outcomes: what was answered is read as any reply is, what was not is asked again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

from worker.errors import JudgeError, VerdictUnreadable
from worker.jobs.batch.file import BatchOutput, BatchRowOut, custom_id, in_batch
from worker.jobs.outcome import failed, settled, settled_without
from worker.jobs.queue import ClaimedJob
from worker.jobs.reply_cache import is_served, kept
from worker.judge.capabilities import CapabilityPlan
from worker.judge.failures import error_for, read_complaint
from worker.judge.wire.protocol import NoCompletion, Price, Wire
from worker.records import Judging, Question, Reply, Scoring
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
        return sum(one.cost_usd or 0.0 for one in self.judgings)

    def cost_at_once_usd(self, price: Price) -> float:
        """What the same calls cost without a batch, as far as known."""
        total = 0.0
        for one in self.judgings:
            if one.input_tokens is not None and one.output_tokens is not None:
                counts = (one.input_tokens, one.cached_tokens or 0, one.output_tokens)
                total += price(one.model_requested, *counts, None) or 0.0
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
    found = Read([], [], [], [], [])
    for one in work:
        try:
            _read_one(one, answers, found, _reader(wire, plan, price), server)
        except Exception as error:  # noqa: BLE001 one job's trouble must not cost the batch
            found.settled.append(failed(one.job, f"scorer_error: {type(error).__name__}: {error}", was_called=True))
    return found


_Reader = Callable[[BatchRowOut, Question], Reply | JudgeError | None]


def _read_one(one: ClaimedJob, answers: BatchOutput, found: Read, read: _Reader, server: str | None) -> None:
    if one.run is None:
        found.settled.append(failed(one.job, "pruned: the run's texts are gone", was_called=True))
        return
    assert isinstance(one.scorer, RubricScorer)
    prepared = one.scorer.prepare(one.run)
    if isinstance(prepared, Scoring):  # the run has changed
        found.settled.append(settled(one.job, one.run, one.scorer.key, prepared))
        return
    replies: list[Reply] = []
    has_failed = was_billed = False
    for index, question in enumerate(prepared.questions):
        row = answers.get(custom_id(one.job, one.run, index))
        reply = None if row is None else read(row, question)
        match reply:
            case Reply():
                replies.append(reply)
                found.judgings.append(reply.judging)
            case VerdictUnreadable() if reply.reason != "bad_request":  # which may be about a parameter: asked again
                done = settled_without(one.job, one.run, one.scorer.key, reply.reason, was_called=False)
                found.settled.append(done)
                return
            case _:
                has_failed = True
                was_billed |= row is not None and row.status == 200
    if has_failed:
        (found.wasted if was_billed or replies else found.again).append(one.job)
        return
    scoring = one.scorer.reader.read(prepared, replies)
    worth = kept(server, scoring) if server is not None and is_served(one.job) else {}
    done = settled(one.job, one.run, one.scorer.key, scoring)
    if one.scorer.builder.second_questions(prepared, scoring):
        cost = one.job.reserved_usd if done.cost_usd is None else done.cost_usd
        found.doubtful.append(FailedAttemptCost(one.job, cost, worth))
    else:
        found.settled.append(done._replace(answers=worth))


def _reader(wire: Wire, plan: CapabilityPlan, price: Price) -> _Reader:
    def read(row: BatchRowOut, question: Question) -> Reply | JudgeError | None:
        if row.status == 200:
            _, effective = wire.body(in_batch(question), plan)
            try:
                return wire.read(row.body, question, effective, latency_ms=None, price=price, tier=TIER)
            except NoCompletion:
                return None
        if row.status == 0:
            return None  # never asked: expired, cancelled
        complaint = read_complaint(orjson.dumps(row.body, default=str))
        return error_for(
            row.status, complaint, judge="the batch lane", model=question.model, said="see the batch", wait_s=None
        )

    return read
