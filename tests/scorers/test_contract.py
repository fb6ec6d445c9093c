"""What every heuristic owes its callers, whatever an agent wrote: built in, or a team's own on either way in."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.custom_scorers import importable, install, write_module
from worker.records import Outcome, Reference, Run, RunFilter, Step
from worker.scorers.heuristics.heuristic import Heuristic
from worker.scorers.protocol import Context, Scorer
from worker.scorers.registry import BUILT_IN, build
from worker.settings.sections_sampling import ScoringSection

ENDED = datetime(2026, 5, 4, tzinfo=UTC)
USUAL = Reference(cost_usd=0.02, steps=6.0, latency_ms=4_000.0)
CONTEXTS = (
    Context(),
    Context(reference=USUAL),
    Context(reference=Reference(cost_usd=0.0, steps=0.0, latency_ms=float("inf"))),
)
SCHEMAS: dict[str, dict[str, Any]] = {
    "t": {"type": "object", "required": ["answer"]},
    "recursive": {"items": {"$ref": "#"}, "uniqueItems": True, "multipleOf": 0.1},
}
CUSTOM = '''\
"""A function, and a class with settings, as a team might write them."""
from dataclasses import dataclass


def mentions_input(run):
    if not run.input:
        return None
    run.steps[0].arguments.clear()  # raises on most runs, and must harm none
    return len(set(run.input) & set(run.output or "")) / len(set(run.input))


@dataclass(frozen=True)
class Limits:
    steps: int = 3


class FewSteps:
    version = "3"

    def __init__(self, settings: Limits):
        self.settings = settings

    def evaluate(self, run, context):
        return len(run.steps) <= self.settings.steps
'''
NAMES = (*BUILT_IN, "mentions_input", "few_steps")

texts = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["Error: no", "Traceback (most recent call last):\n  x\nKeyError: 1", "[1]", '{"error": 1e999}']),
    st.from_regex(r"[\d.,:%/ -]{0,30}(May|am|pm|e-)?[\d.,:%/ -]{0,30}", fullmatch=True),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)
amounts = st.one_of(st.none(), st.floats(min_value=0, allow_nan=False))
steps = st.builds(
    Step,
    seq=st.integers(0, 9),
    kind=st.sampled_from(["model", "tool", "agent", "other"]),
    name=st.one_of(st.sampled_from(["user", "search"]), st.text(max_size=10)),
    arguments=values,
    result=st.one_of(st.none(), texts),
    result_size=st.one_of(st.none(), st.none(), st.just(9)),
    error=st.one_of(st.none(), texts),
)
runs = st.builds(
    Run,
    run_id=st.just("r"),
    task_type=st.sampled_from(["t", "recursive", "none"]),
    status=st.sampled_from(["completed", "aborted", "errored", "incomplete"]),
    input=st.one_of(st.none(), texts),
    output=st.one_of(st.none(), texts),
    steps=st.lists(steps, max_size=6).map(tuple),
    started_at=st.one_of(st.none(), st.integers(-5, 5).map(lambda hours: ENDED - timedelta(hours=hours))),
    ended_at=st.just(ENDED),
    cost_usd=amounts,
    latency_ms=amounts,
    tags=st.dictionaries(st.sampled_from(["truth", "score", "output"]), values, max_size=2),
    user_id=st.one_of(st.none(), texts),
    content=st.sampled_from(["full", "partial", "none"]),
    error=st.one_of(st.none(), texts),
)


def a_run(**over: Any) -> Run:
    """A plain completed run."""
    return Run(**{"run_id": "r", "task_type": "t", "status": "completed", "ended_at": ENDED, **over})


def outcome_of(scorer: Heuristic, run: Run, context: Context) -> Outcome:
    """The one outcome, by the way every caller takes."""
    scoring = asyncio.run(scorer.score(run, context))
    assert scoring.judging is None
    (outcome,) = scoring.outcomes
    return outcome


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Heuristic]]:
    """All: one custom scorer is a function that the settings name, the other comes with an installed package."""
    folder = tmp_path_factory.mktemp("site")
    write_module(folder, "contract_checks", CUSTOM)
    install(folder, "contract_package", {"few_steps": "contract_package:FewSteps"}, CUSTOM)
    with ExitStack() as stack:
        stack.enter_context(importable(folder))
        custom = {"mentions_input": "contract_checks:mentions_input"}
        made = dict(build(ScoringSection(schemas=SCHEMAS, custom=custom, settings={"few_steps": {"steps": 2}})))
        yield made


@pytest.fixture(scope="module", params=NAMES)
def scorer(request: pytest.FixtureRequest, scorers: dict[str, Heuristic]) -> Heuristic:
    return scorers[request.param]


def test_the_built_in_scorers_stand_in_a_stable_order_under_their_own_names() -> None:
    built = build(ScoringSection())
    assert list(built)[: len(BUILT_IN)] == list(BUILT_IN)
    assert list(BUILT_IN)[:9] == [
        "answer_present",
        "completed",
        "tool_success",
        "no_repeats",
        "steps_in_range",
        "cost_in_range",
        "latency_in_range",
        "grounded_figures",
        "valid_json",
    ]
    assert all(name == scorer.key.name for name, scorer in built.items())


def test_no_two_scorers_share_a_fingerprint(scorers: dict[str, Heuristic]) -> None:
    assert len({scorer.key.fingerprint for scorer in scorers.values()}) == len(NAMES)


class TestEveryHeuristic:
    """One scorer at a time."""

    def test_it_is_a_scorer_that_costs_nothing_and_takes_every_run(self, scorer: Heuristic) -> None:
        as_scorer: Scorer = scorer
        assert as_scorer.max_tokens == ()
        assert as_scorer.applies_to == RunFilter()

    def test_its_identity_is_versioned_and_hashed(self, scorer: Heuristic) -> None:
        assert scorer.key.kind == "heuristic"
        assert scorer.key.version
        assert re.fullmatch(r"[0-9a-f]{16}", scorer.key.fingerprint)
        assert scorer.key.series == f"{scorer.key.version}+{scorer.key.fingerprint[:8]}"
        named = {"name": scorer.key.name, "version": scorer.key.version, "parameters": dict(scorer.parameters)}
        assert {name: scorer.key.spec[name] for name in named} == named
        assert set(scorer.key.spec) <= {*named, "settings", "code"}

    def test_its_docstring_says_what_it_cannot_see(self, scorer: Heuristic) -> None:
        assert "\n\n    Cannot see: " in (type(scorer).__doc__ or "")

    @settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(run=runs, context=st.sampled_from(CONTEXTS))
    def test_any_run_gets_a_value_or_a_reason_and_the_same_one_again(
        self, scorer: Heuristic, run: Run, context: Context
    ) -> None:
        outcome = outcome_of(scorer, run, context)
        assert (outcome.value is None) != (outcome.reason is None)
        assert outcome.value is None or 0.0 <= outcome.value <= 1.0
        assert outcome.criterion is None
        assert "\n" not in (outcome.rationale or "")
        assert len(outcome.rationale or "") <= 260
        assert outcome_of(scorer, run, context) == outcome

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(run=runs)
    def test_tags_and_people_make_no_difference(self, scorer: Heuristic, run: Run) -> None:
        context = CONTEXTS[1]
        assert outcome_of(scorer, run, context) == outcome_of(scorer, run.for_scorer(), context)

    def test_five_thousand_steps_are_not_too_many(self, scorer: Heuristic) -> None:
        many = tuple(
            Step(
                seq=i, kind="tool", name="search", arguments={"page": i % 7, "of": [i]}, result=f"row {i} costs {i}.50"
            )
            for i in range(5_000)
        )
        outcome = outcome_of(scorer, a_run(input="list them", output="row 4321 costs 4321.5", steps=many), CONTEXTS[1])
        assert (outcome.value is None) != (outcome.reason is None)

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("unit", ["1", "1,", " ", "may 1 ", "<think>", "[", "\u0301\u0323"])
    def test_a_megabyte_of_one_thing_takes_no_quadratic_time(self, scorer: Heuristic, unit: str) -> None:
        text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
        step = Step(seq=0, kind="tool", name="n", arguments={"text": text}, result=text)
        outcome = outcome_of(
            scorer, a_run(input="how many? 77", output=text, steps=(step,), task_type="recursive"), CONTEXTS[2]
        )
        assert (outcome.value is None) != (outcome.reason is None)

    def test_arguments_nested_without_end_do_no_harm(self, scorer: Heuristic) -> None:
        nested: Any = "bottom"
        for _ in range(20_000):
            nested = [nested]
        step = Step.model_construct(seq=0, kind="tool", name="n", arguments=nested, result="[" * 20_000, error=None)
        run = a_run(input="x", output="[" * 20_000, task_type="recursive").model_copy(update={"steps": (step,)})
        outcome = scorer.evaluate(run, CONTEXTS[2])
        assert (outcome.value is None) != (outcome.reason is None)
        while isinstance(nested, list):  # taken apart by hand: the interpreter frees deep nesting recursively
            nested = nested.pop()
