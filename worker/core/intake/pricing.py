"""What a run cost, from its tokens, where it does not say so itself; an unknown price is None, never zero."""

import math
from collections.abc import Callable
from typing import NamedTuple

from worker.core.intake.names import MODEL_NAMES, spelt
from worker.records import Run, Step

Price = Callable[[str, int, int, int], float | None]
"""US dollars for (model, input tokens, cached among them, output tokens); None when unknown."""


class PricedRun(NamedTuple):
    """A run with its cost, as far as it is known."""

    run: Run
    step_costs: dict[int, float]
    """By the step's place: what was found for steps that did not say it."""
    model: str | None = None
    """The model by whose price the cost was found: the first of several; None where the run said its cost itself."""
    unpriced: str | None = None
    """A model without a price, for whose sake the cost stays unknown; None where there is none."""


def priced(run: Run, price: Price, model: str | None = None) -> PricedRun:
    """Price a run that does not say what it cost.

    A step with a model and both counts of tokens is priced by them. The run costs what its steps cost, where some
    used a model and each of those has a cost; else what its own tokens cost, where its model is known. A part is
    never taken for the whole: the steps say nothing of a run of which one has no price, which was cut at the intake,
    or where a nested agent has a cost beside model calls that may be its own.

    Args:
        run: As it was sent. One with a cost of its own keeps it.
        price: The price of one call.
        model: The run's own model, where it names one; None takes that of its steps, if they have one only.

    Returns:
        The run with `cost_usd` and `cost_source = price_table`, or as it was.

    Example:
        >>> step = Step(seq=0, kind="model", model="m", input_tokens=1_000, output_tokens=100)
        >>> run = Run(run_id="r", task_type="t", status="completed", ended_at="2026-11-01T00:00:00Z", steps=(step,))
        >>> priced(run, lambda model, *counts: sum(counts) / 1e6).run.cost_usd
        0.0011
        >>> priced(run, lambda model, *counts: None).run.cost_usd is None
        True
    """
    if run.cost_usd is not None:
        return PricedRun(run, {})
    costs: dict[int, float] = {}
    known: list[float] = []
    models: dict[str, None] = {}
    is_whole, unpriced = run.content != "partial", None
    has_model = False
    for place, step in enumerate(run.steps):
        if step.model:
            models.setdefault(step.model)
        has_model |= _used_a_model(step)
        if step.cost_usd is not None:
            known.append(step.cost_usd)
            continue
        cost = _of_step(step, price)
        if cost is not None:
            costs[place] = cost
            known.append(cost)
        elif _used_a_model(step):
            is_whole = False
            if step.model and step.input_tokens is not None and step.output_tokens is not None:
                unpriced = unpriced or step.model
    agents = [step for step in run.steps if step.kind == "agent" and step.cost_usd is not None]
    if agents and len(known) > len(agents):
        is_whole = False
    total = math.fsum(known) if known and is_whole and (has_model or agents) else None
    named = next(iter(models), model)
    if total is None and run.input_tokens is not None and run.output_tokens is not None:
        own = model or (named if len(models) == 1 else None)
        if own:
            total, named, known = price(own, run.input_tokens, 0, run.output_tokens), own, []
            unpriced = own if total is None else None
    if total is None:
        return PricedRun(run, costs, unpriced=unpriced)
    source = "price_table" if costs or not known else "client"
    found = run.model_copy(update={"cost_usd": total, "cost_source": source})
    return PricedRun(found, costs, named if source == "price_table" else None)


def model_of(run: Run) -> str | None:
    """The model that a run names as its own, which is kept as a tag; None where it names none."""
    named = (value for name, value in run.tags.items() if spelt(name) in _NAMES and isinstance(value, str) and value)
    return next(named, None)


_NAMES = frozenset({"model", *MODEL_NAMES})


def _of_step(step: Step, price: Price) -> float | None:
    if not step.model or step.input_tokens is None or step.output_tokens is None:
        return None
    return price(step.model, step.input_tokens, 0, step.output_tokens)


def _used_a_model(step: Step) -> bool:
    has_tokens = step.input_tokens is not None or step.output_tokens is not None
    return step.kind == "model" or step.model is not None or has_tokens
