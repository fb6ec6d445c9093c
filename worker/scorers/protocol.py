"""What every scorer is: an identity, a population it applies to, and a verdict on one run."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from worker.records import Ask, Reference, Run, RunFilter, ScorerKey, Scoring


class Context(NamedTuple):
    """What a scorer may know besides the run."""

    reference: Reference | None = None
    """What is usual for the run's task type; None until there is enough history."""
    ask: Ask | None = None
    """The way to a judge; None where none is configured."""


class MostTokens(NamedTuple):
    """The most that one score can use of one model."""

    model: str
    calls: int
    """Under way at the same time, at most."""
    input_tokens: int
    """Of all calls together."""
    output_tokens: int


class CutOff(asyncio.CancelledError):
    """We ended it between two judges: what the first one said is paid, and worth keeping."""

    def __init__(self, so_far: Scoring) -> None:
        """With the first verdict."""
        super().__init__()
        self.so_far = so_far


class Scorer(Protocol):
    """Turns a run into scores; the same run, context and judge answers give the same scores."""

    @property
    def key(self) -> ScorerKey:
        """Who it is; a change of behaviour changes the version and so starts a new series."""

    @property
    def applies_to(self) -> RunFilter:
        """Which runs form its population."""

    @property
    def is_batchable(self) -> bool:
        """Whether a judge's answers may come hours after the questions; False for who asks none."""

    @property
    def calls(self) -> Mapping[str, int]:
        """Calls to each model that one score may make, the one that is asked first before others; empty for none."""

    @property
    def max_tokens(self) -> tuple[MostTokens, ...]:
        """The most a score can use, by model, in the order in which they are asked; empty when it asks none."""

    async def score(self, run: Run, context: Context) -> Scoring:
        """Judge one run.

        Args:
            run: As `Run.for_scorer` gives it.
            context: What else may be known.

        Returns:
            At least one outcome. Whatever cannot be judged is unscored with a reason, never a low value.

        Raises:
            JudgeUnavailable: Try again later.
            JudgeRefusesUs: Nothing helps until a person acts.
        """
