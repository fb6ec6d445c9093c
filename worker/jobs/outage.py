"""Calls that got no answer, until it is known whether that was their run's fault or the judge answers nobody."""

from typing import NamedTuple

from worker.store.queue.job import Job


class Unanswered(NamedTuple):
    """A job whose call got no answer."""

    job: Job
    wait_s: float
    """Before it may be tried again."""
    reason: str
    is_for_all: bool
    """Whether no other call would have fared better."""


class UndecidedCalls:
    """Of each model the calls since it last answered; whether it is down, `JudgeHealth` says.

    A model that answers says nothing about another one.
    """

    def __init__(self) -> None:
        self._by_model: dict[str | None, list[Unanswered]] = {}

    @property
    def jobs(self) -> list[Job]:
        """All that wait to hear whose fault it was."""
        return [call.job for calls in self._by_model.values() for call in calls]

    @property
    def models(self) -> list[str | None]:
        """The models that have not answered somebody."""
        return list(self._by_model)

    def add(self, model: str | None, call: Unanswered) -> None:
        """Keep a call until it is decided."""
        self._by_model.setdefault(model, []).append(call)

    def concerns_all(self, model: str | None) -> list[bool]:
        """Of each undecided call to a model whether no other call would have fared better."""
        return [call.is_for_all for call in self._by_model.get(model, [])]

    def take(self, model: str | None) -> list[Unanswered]:
        """The undecided calls to a model, which are now decided."""
        return self._by_model.pop(model, [])
