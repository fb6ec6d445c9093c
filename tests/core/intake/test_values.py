"""Values in other forms: taken where they can mean one thing, None where they could be two; never an exception."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.intake.stamps import believable, stamp
from worker.core.intake.values import LARGEST, number, says_no_error, says_nothing, truth, usage

AT = datetime(2026, 11, 20, 10, 0, 1, tzinfo=UTC)
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("value", "usd"),
    [
        *(("$0.031", 0.031), ("US$ 0.031", 0.031), ("0.031 USD", 0.031), ("USD 0.031", 0.031), ("3.1e-2", 0.031)),
        *((" 0.5 ", 0.5), (0, 0), ("$.5", 0.5)),
        *((value, None) for value in ("€0.03", "0,031", "1,234.50", "free", "$", "-$1", "$-1", "", "1_000", "٣")),
        *((-0.1, None), (True, None), ("true", None), (float("nan"), None), (float("inf"), None), ("inf", None)),
        *(("NaN", None), (1e300, None), ([1], None), ({}, None)),
    ],
)
def test_dollars_are_read_and_other_money_is_not(value: object, usd: float | None) -> None:
    assert number("cost_usd", "cost_usd", value) == usd


@pytest.mark.parametrize(
    ("name", "value", "ms"),
    [
        *(("latency_ms", "1.2s", 1_200), ("latency_ms", "1200", 1_200), ("latency_ms", "1200 ms", 1_200)),
        *(("latency", "350µs", 0.35), ("latency", "1m30s", 90_000), ("latency", "PT1M30S", 90_000)),
        *(("elapsed", "0:00:01.200000", 1_200), ("duration_s", 1.2, 1_200), ("duration_s", "1200ms", 1_200)),
        *(("duration_ns", 5_000_000, 5), ("duration_seconds", "2", 2_000), ("latency", "1 h", 3_600_000)),
        *(("latency", 1.2, None), ("latency", "1.2", None), ("latency", "2m", None), ("latency", "01:30", None)),
        *(
            ("latency_ms", -5, None),
            ("latency_ms", "-5ms", None),
            ("latency_ms", "1,2s", None),
            ("latency", "PT", None),
        ),
        *(("latency_ms", "1e99", None), ("latency_ms", "soon", None), ("latency_ms", "9" * 65, None)),
    ],
)
def test_a_duration_is_read_where_value_or_name_says_the_unit(name: str, value: object, ms: float | None) -> None:
    assert number("duration_ms", name, value) == (None if ms is None else pytest.approx(ms))


@pytest.mark.parametrize(
    ("value", "count"),
    [(12, 12), ("12", 12), (12.0, 12), ("12.0", 12), (1.5, None), ("1,234", None), ("12k", None), (10**18, None)],
)
def test_a_count_is_a_whole_number(value: object, count: int | None) -> None:
    found = number("input_tokens", "tokens_in", value)
    assert found == count
    assert found is None or type(found) is int


@given(st.sampled_from(sorted(LARGEST)), st.sampled_from(["latency", "latency_ms", "cost", "duration_s"]), _anything)
def test_any_value_is_a_number_within_bounds_or_none(field: str, name: str, value: object) -> None:
    found = number(field, name, value)
    assert found is None or 0 <= found <= LARGEST[field]


@pytest.mark.parametrize(
    "value",
    [
        *(
            1795168801,
            1795168801000,
            1795168801000000,
            1795168801000000000,
            "1795168801",
            "1795168801000",
            1795168801.0,
        ),
        *("2026-11-20T10:00:01Z", "2026-11-20 10:00:01+00", "2026-11-20T11:00:01+0100", "2026-11-20 10:00:01 UTC"),
        *("2026-11-20 10:00:01 +0000 UTC", "Fri, 20 Nov 2026 10:00:01 GMT", "2026-11-20T10:00:01.000000000Z"),
        *("2026-11-20T11:00:01+01:00[Europe/Berlin]", "2026-11-20T10:00:01Z[UTC]", "2026/11/20 10:00:01Z"),
        *("Fri, 20 Nov 2026 10:00:01 -0000", "2026/11/20T11:00:01+01:00"),
        *("2026-11-20T10:00:01z", "2026-11-20 10:00:01 Z", " 2026-11-20T11:00:01 +01:00 "),
        *({"$date": "2026-11-20T10:00:01Z"}, {"$date": {"$numberLong": "1795168801000"}}),
        *({"seconds": 1795168801, "nanos": 0}, {"_seconds": 1795168801, "_nanoseconds": 0}, {"seconds": "1795168801"}),
    ],
)
def test_a_moment_is_the_same_however_it_is_written(value: object) -> None:
    assert stamp(value) == AT


@pytest.mark.parametrize(
    "value",
    [
        *("2026-11-20T10:00:01", "2026-11-20", "20 Nov 2026", "yesterday", "", True, [], {}, {"seconds": None}, 1e21),
        *(float("nan"), float("-inf"), "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1" * 65),
        *({"$date": {"$date": True}}, {"seconds": 1, "nanos": -1}),
    ],
)
def test_what_has_no_zone_or_is_no_moment_is_none(value: object) -> None:
    assert stamp(value) is None


@pytest.mark.parametrize("value", [120, 20261120, "20261120100000", "0001-01-01T00:00:00Z", "2612-01-19T16:55:00Z"])
def test_digits_that_are_no_count_of_seconds_are_not_believed(value: object) -> None:
    assert stamp(value) is not None
    assert believable(value) is None
    assert believable("2026-11-20T10:00:01Z") == AT


@given(_anything | st.text("0123456789-:T+Z ", max_size=30))
def test_any_value_is_a_moment_in_utc_or_none(value: object) -> None:
    found = stamp(value)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    "value", ["None", "null", "NaN", "", "  ", "undefined", "N/A", None, float("nan"), "NaT", "<NA>"]
)
def test_nothing_written_as_a_word_is_nothing_and_no_error(value: object) -> None:
    assert says_nothing(value)
    assert says_no_error(value)


@pytest.mark.parametrize("value", ["false", "False", False, 0, "0", [], {}, "no error", "OK", "{}"])
def test_an_error_that_says_that_there_was_none_is_none(value: object) -> None:
    assert says_no_error(value)


@pytest.mark.parametrize("value", ["timeout", "None of the orders was found", True, 500, {"code": 1}, "nan: bad value"])
def test_an_error_that_says_something_is_one(value: object) -> None:
    assert not says_no_error(value)


def test_truth_is_true_or_false_also_as_a_word() -> None:
    assert [truth(value) for value in (True, "TRUE", False, " false ", "yes", 1, None)] == [
        *(True, True, False, False),
        *(None, None, None),
    ]


def test_tokens_of_an_object_count_the_cache_once() -> None:
    assert usage({"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 5}) == (9, 2)
    assert usage({"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 85}) == (100, None)
    assert usage({"inputTokens": 1, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 5, "outputTokens": 2}) == (
        10,
        2,
    )
    assert usage({"input_tokens": 9, "cache_read_input_tokens": 5, "output_tokens": 1, "total_tokens": 10}) == (9, 1)
    assert usage({"input": 3, "output": "x"}) == (3, None)
    assert usage({"prompt": 3, "completion": 4}) == (3, 4)
    assert usage({"input": 300, "output": 40, "unit": "CHARACTERS"}) == (None, None)
    assert usage({"input": 300, "output": 40, "unit": "TOKENS"}) == (300, 40)


def test_what_gemini_counts_beside_its_tokens_counts() -> None:
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 41}
    assert usage({**counts, "thoughtsTokenCount": 20, "toolUsePromptTokenCount": 10}) == (19, 22)
    assert usage(counts) == (9, 2)


def test_no_tokens_are_unknown_and_not_none_of_them() -> None:
    assert usage({}) == (None, None)
