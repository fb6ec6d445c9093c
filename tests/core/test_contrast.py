"""Facts that set bad runs apart: exact against scipy, few false ones among pure chance, each true one named."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from worker.core.stats.contrast import MIN_RUNS_WITH, RunTraits, contrasts, fisher_exact, holm

counts = st.integers(0, 60)


@given(counts, counts, counts, counts)
@settings(deadline=None, max_examples=300)
def test_fisher_agrees_with_scipy(a: int, b: int, c: int, d: int) -> None:
    assert fisher_exact(a, b, c, d) == pytest.approx(stats.fisher_exact([[a, b], [c, d]])[1], rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("table", [(9000, 1000, 8800, 1200), (5, 9995, 40, 9960), (700, 0, 600, 100)])
def test_fisher_agrees_with_scipy_on_large_tables(table: tuple[int, int, int, int]) -> None:
    a, b, c, d = table
    assert fisher_exact(a, b, c, d) == pytest.approx(stats.fisher_exact([[a, b], [c, d]])[1], rel=1e-5)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_corrects_as_a_plain_reading_of_the_paper(ps: list[float]) -> None:
    corrected = holm(ps)
    for index, p in enumerate(ps):
        worse = [q for other, q in enumerate(ps) if (q, other) <= (p, index)]
        ranked = sorted(worse)
        plain = max(min(1.0, (len(ps) - rank) * q) for rank, q in enumerate(ranked))
        assert corrected[index] == pytest.approx(plain)


def chance(seed: int) -> list[RunTraits]:
    """Runs whose facts have nothing to do with how good they are."""
    rng = random.Random(seed)
    return [
        RunTraits(
            rng.random() < 0.2,
            rng.choice(("refund", "faq", "research")),
            "bot",
            rng.choice(("1", "2", "3")),
            rng.choice(("completed", "completed", "errored")),
            ("steps_outlier",) if rng.random() < 0.3 else (),
            {tool: rng.random() < 0.2 for tool in ("a", "b", "c") if rng.random() < 0.6},
            rng.randrange(5000),
        )
        for _ in range(240)
    ]


def test_pure_chance_names_a_fact_in_few_reports() -> None:
    """The level is that of a whole report, however many facts it looks at: 5 % of 200 is 10, and 18 a rare excess."""
    false = sum(bool(contrasts(chance(seed)).found) for seed in range(200))
    assert false <= 17
    assert contrasts(chance(1)).looked_at > 20


def test_a_tool_that_only_the_hardest_task_uses_is_not_blamed() -> None:
    rng = random.Random(1)
    hard = [RunTraits(rng.random() < 0.5, "research", tools={"web_search": False}) for _ in range(200)]
    easy = [RunTraits(rng.random() < 0.05, "faq", tools={"help": False}) for _ in range(200)]
    found = contrasts(hard + easy).found
    assert [(contrast.kind, contrast.name) for contrast in found] == [("task type", "research")]


def test_what_goes_with_bad_runs_is_named_with_its_counts() -> None:
    rng = random.Random(2)
    rows = []
    for _ in range(300):
        failed = rng.random() < 0.3
        rows.append(
            RunTraits(rng.random() < (0.6 if failed else 0.1), "refund", tools={"issue": failed}, flags=("x",) * failed)
        )
    (one,) = contrasts(rows).found
    assert (one.kind, one.name, one.task_type) == ("tool failed", "issue", "refund"), "its flag splits alike: told once"
    assert (one.n_with, one.n_without) == (
        sum(row.tools["issue"] for row in rows),
        sum(not row.tools["issue"] for row in rows),
    )
    assert one.bad_with == sum(row.is_bad for row in rows if row.tools["issue"])
    assert one.share_with > one.share_without


def test_of_two_versions_the_worse_is_told_once() -> None:
    rng = random.Random(3)
    rows = [
        RunTraits(rng.random() < (0.5 if new else 0.1), "t", agent_version="2" if new else "1")
        for new in [True, False] * 80
    ]
    found = contrasts(rows)
    assert [contrast.name for contrast in found.found] == ["2"]
    assert found.looked_at == 1, "both sides of one split are one test"


@pytest.mark.parametrize("long_is_bad", [True, False])
def test_long_and_short_inputs_are_told_by_their_side(long_is_bad: bool) -> None:
    rng = random.Random(4)
    rows = []
    for _ in range(300):
        size = rng.randrange(10_000)
        rows.append(RunTraits(rng.random() < (0.5 if (size > 5_000) == long_is_bad else 0.1), "t", input_tokens=size))
    (one,) = contrasts(rows).found
    assert one.name.startswith("more than" if long_is_bad else "at most")


@pytest.mark.parametrize("rows", [[], [RunTraits(True, "a")] * 30, [RunTraits(False, "a")] * 30])
def test_without_bad_or_without_good_there_is_nothing_to_compare(rows: list[RunTraits]) -> None:
    found = contrasts(rows)
    assert (found.found, found.looked_at, found.runs) == ((), 0, len(rows))


def test_too_few_runs_with_a_fact_are_not_tested() -> None:
    rows = [
        RunTraits(number < MIN_RUNS_WITH - 1, "t", agent_version="2" if number < MIN_RUNS_WITH - 1 else "1")
        for number in range(200)
    ]
    assert contrasts(rows).looked_at == 0


def test_what_defines_bad_is_not_looked_at() -> None:
    rows = [
        RunTraits(number % 2 == 0, "t", status="errored" if number % 2 == 0 else "completed") for number in range(80)
    ]
    assert contrasts(rows).found
    assert not contrasts(rows, ignore=("status",)).found


def test_names_without_end_are_bounded() -> None:
    rows = [
        RunTraits(number % 3 == 0, "t", tools={f"tool-{number // 5}-{part}": False for part in range(2)})
        for number in range(5_000)
    ]
    assert contrasts(rows).looked_at <= 1_000
