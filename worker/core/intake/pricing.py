"""What a run cost, from its tokens, where it does not say so itself; an unknown price is None, never zero."""

import math
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from worker.core.intake.names import MODEL_NAMES, spelt
from worker.records import Run, Step

Price = Callable[[str, int, int, int], float | None]
"""US dollars for (model, input tokens, cached among them, output tokens); None when unknown."""


_LONGEST_NAME = 200
"""Characters of a model's name; a longer one has no price, and is not looked for."""
_FULL_CONTEXT = 100_000
"""Input tokens that every model's price of a short prompt holds for; some charge double from 128,000 or 200,000 on."""
_BEDROCK = re.compile(r"(?:[a-z-]{2,8}\.)?(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral)\.[\w.:-]+", re.ASCII)
_SELLERS = frozenset({
    "anthropic", "azure", "bedrock", "cohere", "deepseek", "fireworks", "google-gla", "google-vertex", "google_genai",
    "google_vertexai", "groq", "mistral", "mistralai", "openai", "openrouter", "together", "xai",
})  # fmt: skip
"""What stands before a colon and a model's name in frameworks, where it sells tokens."""


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
    price = _no_price if _says_no_tokens(run) else price
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
            if step.model and None not in (step.input_tokens, step.output_tokens) and _has_tokens(step):
                unpriced = unpriced or step.model
    agents = [step for step in run.steps if step.kind == "agent" and step.cost_usd is not None]
    if agents and len(known) > len(agents):
        is_whole = False
    total = math.fsum(known) if known and is_whole and (has_model or agents) else None
    named = next(iter(models), model)
    if total is None and run.input_tokens is not None and run.output_tokens is not None:
        own = model or (named if len(models) == 1 else None)
        if own:
            total, named, known = _of_total(own, run, price), own, []
            unpriced = own if total is None and _has_tokens(run) else None
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
    return _of_call(step.model, step.input_tokens, step.output_tokens, price)


def _of_total(model: str, run: Run, price: Price) -> float | None:
    """The price of a run's own tokens: a sum over its calls, of which none need be as long as all together."""
    read, written = run.input_tokens or 0, run.output_tokens or 0
    if read <= _FULL_CONTEXT:
        return _of_call(model, read, written, price)
    a_call, some_read, some_written = (
        _of_call(model, *counts, price) for counts in ((0, 0), (_FULL_CONTEXT, 0), (0, _FULL_CONTEXT))
    )
    if a_call is None or some_read is None or some_written is None:
        return None
    return a_call + ((some_read - a_call) * read + (some_written - a_call) * written) / _FULL_CONTEXT


def _of_call(model: str, read: int, written: int, price: Price) -> float | None:
    """The price of one call, by the model's name as it is, or as frameworks and clouds write it."""
    if len(model) > _LONGEST_NAME:
        return None
    costs = (price(name, read, 0, written) for name in _spellings(model))
    return next((cost for cost in costs if cost is not None), None)


def _spellings(model: str) -> Iterator[str]:
    """A model's name, and what it is called in a table: `openai:gpt-4o`, `us.anthropic.claude-…-v1:0`, ` gpt-4o`."""
    yield model
    name = model.strip()
    if name != model:
        yield name
    seller, _, rest = name.partition(":")
    if rest and seller in _SELLERS:
        yield f"{seller}/{rest}"
    elif _BEDROCK.fullmatch(name):
        yield f"bedrock/{name}"


def _says_no_tokens(run: Run) -> bool:
    """Whether no count is above zero: no call reads and writes nothing, but who streams without usage sends zeros."""
    return not (run.status == "errored" or _has_tokens(run) or any(map(_has_tokens, run.steps)))


def _no_price(*_: object) -> None:
    return None


def _has_tokens(used: Run | Step) -> bool:
    return bool(used.input_tokens or used.output_tokens)


def _used_a_model(step: Step) -> bool:
    has_tokens = step.input_tokens is not None or step.output_tokens is not None
    return step.kind == "model" or step.model is not None or has_tokens
