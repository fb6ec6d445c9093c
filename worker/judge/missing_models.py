"""Models that the server of this process does not have: jobs that ask for one are left to other workers."""

import time
from collections.abc import Callable, Collection, Iterable

LEFT_S = 300.0
"""So long a model that was refused is not asked for again, where others are there to be asked."""


class MissingModels:
    """What one process has learned of its server's models, from refusals that named the model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is missing yet.

        Args:
            clock: Seconds of a clock that never goes back.
        """
        self._clock = clock
        self._until: dict[str, float] = {}
        self._why: dict[str, str] = {}

    def add(self, model: str, why: str) -> None:
        """The server does not have a model.

        Args:
            model: Its name.
            why: The refusal, one line.
        """
        self._until[model] = self._clock() + LEFT_S
        self._why[model] = why

    def discard(self, models: Iterable[str]) -> None:
        """Ask for these again."""
        for model in models:
            self._until.pop(model, None)
            self._why.pop(model, None)

    def any_of(self, models: Iterable[str]) -> bool:
        """Whether one of these models is missing now."""
        now = self._clock()
        return any(self._until.get(model, 0.0) > now for model in models)

    def line(self, among: Collection[str] | None = None) -> str | None:
        """The refusals of models that are missing now; None where none is.

        Args:
            among: Only of these models; None for all.
        """
        now = self._clock()
        told = [
            self._why[model]
            for model, until in self._until.items()
            if until > now and (among is None or model in among)
        ]
        return "; ".join(told[:3]) or None
