"""Calls that got no answer: whether it was their run's bad luck, or a judge that answers nobody."""

from typing import NamedTuple

from worker.store.queue.job import Job

_OUTAGE_AFTER = 8
"""More calls than this, and than may be under way at once, without one answer: the judge is down for everybody."""
_POISON = 2


class Unanswered(NamedTuple):
    """A job whose call got no answer."""

    job: Job
    wait_s: float
    """Before it may be tried again."""
    reason: str
    is_for_all: bool
    """Whether no other call would have fared better."""


class OutageDetector:
    """Of each model the calls since it last answered. A model that answers says nothing about another one."""

    def __init__(self, concurrency: int) -> None:
        self._many = max(_OUTAGE_AFTER, concurrency)
        self._by_model: dict[str | None, list[Unanswered]] = {}

    @property
    def jobs(self) -> list[Job]:
        """All that wait to hear whose fault it was."""
        return [one.job for each in self._by_model.values() for one in each]

    @property
    def models(self) -> list[str | None]:
        """The models that have not answered somebody."""
        return list(self._by_model)

    def add(self, model: str | None, silent: Unanswered) -> bool:
        """Note a call.

        Returns:
            Whether these are too many for bad luck.
        """
        own = self._by_model.setdefault(model, [])
        own.append(silent)
        return len(own) > self._many

    def is_outage(self, model: str | None) -> bool:
        """Whether the silence is the judge's, with nothing under way any more: one or two calls alone may be poison."""
        own = self._by_model.get(model, [])
        return len(own) > _POISON or (bool(own) and all(one.is_for_all for one in own))

    def broken(self, model: str | None) -> list[Unanswered]:
        """The calls of a model until now; it starts anew."""
        return self._by_model.pop(model, [])
