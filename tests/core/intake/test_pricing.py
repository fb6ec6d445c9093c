"""A run's cost from its tokens: only where all of it is known, never zero for what is not."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.intake.pricing import model_of, priced
from worker.records import Run, Step

PRICES = {"small": (1.0, 4.0), "large": (10.0, 40.0)}
"""US dollars for a million tokens, read and written."""


def price(model: str, read: int, cached: int, written: int) -> float | None:
    if model not in PRICES:
        return None
    return (read * PRICES[model][0] + written * PRICES[model][1]) / 1e6


def step(model: str | None = "small", read: int | None = 1_000, written: int | None = 500, **over: Any) -> Step:
    given: dict[str, Any] = {"seq": 0, "kind": "model", "model": model, "input_tokens": read, "output_tokens": written}
    return Step(**given | over)


TOOL = Step(seq=0, kind="tool", name="search")


def a_run(*steps: Step, **over: Any) -> Run:
    ended = datetime(2026, 11, 1, tzinfo=UTC)
    return Run(run_id="r", task_type="t", status="completed", ended_at=ended, steps=steps, **over)


def test_steps_are_priced_and_summed() -> None:
    found = priced(a_run(step(), TOOL, step("large", 2_000, 100)), price)
    # of small (1,000 * 1 + 500 * 4) / 10^6 = 0.003, of large (2,000 * 10 + 100 * 40) / 10^6 = 0.024
    assert found.step_costs == {0: 0.003, 2: 0.024}
    assert found.run.cost_usd == pytest.approx(0.027)
    assert (found.run.cost_source, found.model, found.unpriced) == ("price_table", "small", None)


def test_a_cost_that_is_said_stays_and_counts_in_the_sum() -> None:
    said = a_run(step(), cost_usd=0.5, cost_source="client")
    assert priced(said, price) == (said, {}, None, None)
    free = a_run(step(), cost_usd=0.0, cost_source="client")
    assert priced(free, price).run.cost_usd == 0.0
    mixed = priced(a_run(step(cost_usd=0.01), step()), price)
    assert mixed.run.cost_usd == pytest.approx(0.013)
    assert mixed.step_costs == {1: 0.003}


def test_a_part_is_never_the_whole() -> None:
    for missing in (step("unheard of"), step(None), step(read=None), step(written=None)):
        found = priced(a_run(step(), missing), price)
        assert found.run.cost_usd is None
        assert found.run.cost_source == "unknown"
    assert priced(a_run(step(), step("unheard of")), price).unpriced == "unheard of"


def test_the_runs_own_tokens_are_priced_by_its_model_or_by_the_only_one_of_its_steps() -> None:
    by_tag = a_run(TOOL, input_tokens=1_000, output_tokens=500, tags={"modelName": "small"})
    assert model_of(by_tag) == "small"
    assert priced(by_tag, price, model_of(by_tag)).run.cost_usd == pytest.approx(0.003)
    by_step = a_run(step("large", None, None), input_tokens=1_000, output_tokens=500)
    assert priced(by_step, price).run.cost_usd == pytest.approx(0.03)  # (1,000 * 10 + 500 * 40) / 10^6
    of_two = a_run(step("large", None, None), step("small", None, None), input_tokens=1_000, output_tokens=500)
    assert priced(of_two, price).run.cost_usd is None
    unknown = priced(a_run(input_tokens=1, output_tokens=1), price, "unheard of")
    assert (unknown.run.cost_usd, unknown.unpriced) == (None, "unheard of")


def test_what_was_cut_or_may_be_counted_twice_is_not_summed() -> None:
    assert priced(a_run(step(), content="partial"), price).run.cost_usd is None
    tool = Step(seq=0, kind="tool", name="search", cost_usd=0.01)
    assert priced(a_run(tool), price).run.cost_usd is None, "what the agent itself cost is not known"
    own = priced(a_run(tool, input_tokens=1_000, output_tokens=500), price, "small")
    assert own.run.cost_usd == pytest.approx(0.003)  # its own tokens, as it says that they are all
    agent = Step(seq=0, kind="agent", name="child", cost_usd=0.02)
    assert priced(a_run(agent, step()), price).run.cost_usd is None, "the call may be the child's"
    assert priced(a_run(agent), price).run.cost_usd == pytest.approx(0.02)
    assert priced(a_run(step(), step(None, None, 7)), price).run.cost_usd is None


def test_costs_that_the_source_gave_for_all_steps_are_the_sources() -> None:
    found = priced(a_run(step(cost_usd=0.01), step(cost_usd=0.02)), price)
    assert found.run.cost_usd == pytest.approx(0.03)
    assert (found.run.cost_source, found.model) == ("client", None)


def test_a_run_without_models_has_no_cost() -> None:
    assert priced(a_run(), price) == (a_run(), {}, None, None)
    assert priced(a_run(TOOL), price).run.cost_usd is None


def test_a_run_is_many_calls_and_pays_no_surcharge_for_a_long_one() -> None:
    """Gemini and Claude charge double for prompts beyond 200,000 tokens; a sum over calls is no such prompt."""

    def tiered(model: str, read: int, cached: int, written: int) -> float:
        return 0.002 + (read * (2.0 if read > 200_000 else 1.0) + written * 4.0) / 1e6

    for read, written in ((150_000, 10), (900_000, 20_000), (10**12, 10**9)):
        found = priced(a_run(input_tokens=read, output_tokens=written), tiered, "m")
        assert found.run.cost_usd == pytest.approx(0.002 + (read + 4 * written) / 1e6, rel=1e-9)
    assert priced(a_run(step("m", 300_000, 0)), tiered).run.cost_usd == pytest.approx(0.602), "one call, one prompt"


def test_zeros_for_tokens_are_unknown_and_not_free() -> None:
    """Clients that stream without asking for usage write 0 and 0; among other calls it may be one from a cache."""
    nothing = step(read=0, written=0)
    for run in (a_run(nothing), a_run(nothing, nothing), a_run(input_tokens=0, output_tokens=0)):
        found = priced(run, price, "small")
        assert found.run.cost_usd is None
        assert found.unpriced is None, "its model has a price"
        assert found.step_costs == {}
    assert priced(a_run(step(), nothing), price).run.cost_usd == pytest.approx(0.003)
    failed = a_run(nothing).model_copy(update={"status": "errored"})
    assert priced(failed, price).run.cost_usd == 0


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("us.anthropic.claude-3-haiku-20240307-v1:0", "bedrock/us.anthropic.claude-3-haiku-20240307-v1:0"),
        ("amazon.nova-lite-v1:0", "bedrock/amazon.nova-lite-v1:0"),
        ("openai:gpt-4o", "openai/gpt-4o"),
        (" gpt-4o\n", "gpt-4o"),
    ],
)
def test_a_models_name_is_tried_as_tables_write_it(written: str, listed: str) -> None:
    found = priced(a_run(step(written)), lambda model, *counts: 0.25 if model == listed else None)
    assert found.run.cost_usd == 0.25
    assert found.model == written


@pytest.mark.parametrize("model", ["a/" * 30_000, "x" * 201, "ollama:small", "ft:small:acme"])
def test_what_is_no_name_of_a_table_is_not_looked_for(model: str) -> None:
    asked: list[str] = []
    priced(a_run(step(model)), lambda model, *counts: asked.append(model))
    assert asked == ([] if len(model) > 200 else [model])


STEPS = st.builds(
    step,
    st.sampled_from([None, "small", "large", "unheard of"]),
    st.none() | st.integers(0, 10**6),
    st.none() | st.integers(0, 10**6),
    kind=st.sampled_from(["model", "tool"]),
    cost_usd=st.none() | st.floats(0, 10),
)


@given(st.lists(STEPS, max_size=5), st.none() | st.integers(0, 10**6), st.none() | st.integers(0, 10**6))
def test_unknown_is_never_zero_and_known_is_the_sum(steps: list[Step], read: int | None, written: int | None) -> None:
    run = a_run(*steps, input_tokens=read, output_tokens=written)
    said = [one.cost_usd for one in steps if one.cost_usd is not None]
    without = priced(run, lambda model, *counts: None).run.cost_usd
    assert without is None or (said and without == math.fsum(said))
    found = priced(run, price)
    if found.run.cost_usd is None:
        assert found.run == run
        return
    assert found.run.cost_source in ("client", "price_table")
    costs = [found.step_costs.get(place, one.cost_usd) for place, one in enumerate(steps)]
    if read is None or written is None:
        assert found.run.cost_usd == pytest.approx(math.fsum(cost for cost in costs if cost is not None))
