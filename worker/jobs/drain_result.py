"""What one turn at a lane did."""

from collections.abc import Callable
from typing import NamedTuple

from worker.jobs.outcome import failed
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled

LEFT_ALONE = "the judge gave no answer, and is left alone for a while"
"""The trouble of a turn that asked nobody; why the judge is left alone is in the trouble of an earlier turn."""

OnProgress = Callable[[int], None]
"""Told how many jobs were settled."""


class DrainResult(NamedTuple):
    """What one turn at a lane did."""

    settled: int = 0
    shed: int = 0
    retried: int = 0
    refused: str | None = None
    """The judge's refusal that ended the turn; None when there was none."""
    outage: str | None = None
    """What was seen of a judge that answers nobody, which ended the turn; None when it answered."""
    pause_s: float = 0.0
    """How long it asked to be left alone, at most a minute."""
    missing_model: str | None = None
    """The model that was refused, where the refusal is that the server does not have it."""

    def __add__(self, other: object) -> "DrainResult":
        """Both together."""
        if not isinstance(other, DrainResult):
            return NotImplemented
        return DrainResult(
            self.settled + other.settled,
            self.shed + other.shed,
            self.retried + other.retried,
            self.refused or other.refused,
            self.outage or other.outage,
            max(self.pause_s, other.pause_s),
            self.missing_model or other.missing_model,
        )


def ignore_progress(_: int) -> None:
    """For who does not want to be told."""


def pruned(job: Job) -> Settled:
    """The outcome of a job whose run's texts were deleted before it was scored."""
    return failed(job, "pruned: the run's texts are gone", was_called=False)
