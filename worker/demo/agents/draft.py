"""The draft of a run that a scenario fills: input, steps and output; and its tokens, cost and times."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

_LARGE, _SMALL = "sonata-2", "sonata-2-mini"
_MOST_RETRIES = 3
_UNFOUNDED_SHARE = 0.04
_UNFOUNDED = (
    " Most people hear back within 48 hours.",
    " That is true for 95 % of our customers.",
    " We have done it this way since 2014.",
    " Our office is open until 18:30.",
)
"""Sentences with a figure that no step supports; agents sometimes add one, in good runs and bad."""
_USD_PER_MTOK = {_LARGE: (2.5, 10.0), _SMALL: (0.8, 3.2)}
"""Prices of the made-up agents' models, by model: input and output tokens."""


class Fault(NamedTuple):
    """A fault that makes a run bad, with the reason a judge would give."""

    name: str
    reason: str
    criterion: str = "outcome"
    """The criterion of the rubric task_completion that fails."""
    weight: float = 1.0
    """Relative frequency among the faults of its task type."""


class Outage(NamedTuple):
    """A tool that fails in part of its calls."""

    tool: str
    share: float
    """Failed share of its calls, 0..1."""
    error: str


class TokenProfile(NamedTuple):
    """Parameters of a task type's token use."""

    prompt: int
    """Tokens of the first model call."""
    spread: float
    """Standard deviation of the logarithm of a run's token use."""
    is_large: bool = False
    """Whether the large model is used."""


class DraftUsage(NamedTuple):
    """Tokens read and written by a run, and its cost."""

    read: int
    wrote: int
    cost_usd: float


class Draft:
    """Collects a run's steps while a scenario runs."""

    def __init__(self, rng: random.Random, ticket: str, outage: Outage | None = None, retry: float = 0.0) -> None:
        """Begin a run.

        Args:
            rng: Decides everything.
            ticket: The number that its input names.
            outage: A tool that is down now and then.
            retry: How often a call times out and is made again.
        """
        self.rng = rng
        self.ticket = ticket
        self.asked = ""
        self.answered: str | None = None
        self.steps: list[dict[str, Any]] = []
        self._outage = outage
        self._retry = retry

    def think(self, text: str) -> None:
        """Add a model call that decides what to do next."""
        self.steps.append({"kind": "model", "name": "plan", "result": text})

    def call(self, tool: str, arguments: Mapping[str, Any], result: object) -> bool:
        """Add a tool call. Returns False when the tool failed, so that the scenario may use another one."""
        step = {"kind": "tool", "name": tool, "arguments": dict(arguments)}
        if self._outage is not None and tool == self._outage.tool and self.rng.random() < self._outage.share:
            self.steps.append(step | {"error": self._outage.error})
            return False
        for _ in range(_MOST_RETRIES):
            if self.rng.random() >= self._retry:
                break
            self.steps.append(step | {"error": "timeout after 10.0 s"})
        text = result if isinstance(result, str) else orjson.dumps(result).decode()
        self.steps.append(step | {"result": text})
        return True

    def close(self, answered: str) -> None:
        """Add the last model call, which writes the output."""
        self.steps.append({"kind": "model", "name": "answer"})
        text = self.rng.choice(_UNFOUNDED) if self.rng.random() < _UNFOUNDED_SHARE else ""
        self.answered = answered + text if not answered.endswith(("}", "`")) else answered


def priced(draft: Draft, usage: TokenProfile, factor: float) -> DraftUsage:
    """Give each model call its tokens and its cost; the context grows with each step before it.

    Args:
        draft: Whose steps are filled in.
        usage: Parameters of the task type.
        factor: Factor on all tokens; 1 for usual.

    Returns:
        Tokens in, tokens out and US dollars of the whole run. The dollars are heavy-tailed: one run in eighty reads
        something very long.
    """
    rng = draft.rng
    token_factor = factor * rng.lognormvariate(0.0, usage.spread)
    if rng.random() < 0.0125:
        token_factor *= rng.paretovariate(1.6) + 1
    model = _LARGE if usage.is_large else _SMALL
    usd_in, usd_out = _USD_PER_MTOK[model]
    tokens_in = tokens_out = 0
    cost = 0.0
    for index, step in enumerate(draft.steps):
        if step["kind"] != "model":
            continue
        read = int(token_factor * (usage.prompt + 260 * index))
        wrote = int(token_factor * rng.uniform(60, 240)) + 8
        step |= {"model": model, "input_tokens": read, "output_tokens": wrote}
        tokens_in, tokens_out = tokens_in + read, tokens_out + wrote
        cost += (read * usd_in + wrote * usd_out) / 1e6
    return DraftUsage(tokens_in, tokens_out, round(cost, 6))


def timed(draft: Draft, ended: datetime) -> datetime:
    """Give each step its duration.

    Returns:
        When the run began, so that the last step ends when the run did.
    """
    rng = draft.rng
    slowness = rng.lognormvariate(0.0, 0.35) * (rng.paretovariate(1.3) if rng.random() < 0.03 else 1.0)
    passed_ms = 0.0
    for step in draft.steps:
        usual_ms = 1_400.0 if step["kind"] == "model" else 320.0
        step["duration_ms"] = round(slowness * usual_ms * rng.lognormvariate(0.0, 0.5), 1)
        passed_ms += step["duration_ms"] + 15
    return ended - timedelta(milliseconds=passed_ms)
