"""The text of /metrics, read back by Prometheus' own client library: whatever a name holds, it stays one valid line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from worker.queries.metrics import LABEL_CHARS, family, render


def read(*metrics: Metric) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a text, by name and labels; the parser insists that the text is valid."""
    text = render(metrics).decode()
    found = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "twice"
            found[key] = sample.value
    return found


def gauge(*samples: tuple[dict[str, str], float], name: str = "jobs") -> Metric:
    return family(name, "Jobs.", samples)


def test_gauges_and_counters_come_back_as_they_were() -> None:
    calls = family("calls_total", "Calls.", [({"model": "m"}, 12), ({"model": "n"}, 2**40)], "counter")
    assert read(gauge(({}, 0.25), ({"lane": "judge", "state": "due"}, 3)), calls) == {
        ("spotcheck_jobs", ()): 0.25,
        ("spotcheck_jobs", (("lane", "judge"), ("state", "due"))): 3.0,
        ("spotcheck_calls_total", (("model", "m"),)): 12.0,
        ("spotcheck_calls_total", (("model", "n"),)): 2.0**40,
    }


def test_help_and_type_come_first_and_a_help_of_two_lines_stays_one() -> None:
    text = render([family("x", "One\\\ntwo.", [({}, 1)])]).decode()
    assert text == "# HELP spotcheck_x One\\\\\\ntwo.\n# TYPE spotcheck_x gauge\nspotcheck_x 1.0\n"
    (metric,) = text_string_to_metric_families(text)
    assert metric.documentation == "One\\\ntwo."


def test_a_family_without_samples_is_left_out() -> None:
    assert render([gauge()]) == b""


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, -0.0])
def test_odd_numbers_are_numbers(value: float) -> None:
    (found,) = read(gauge(({}, value))).values()
    assert found == value or (math.isnan(found) and math.isnan(value))


@given(st.lists(st.text(max_size=300), max_size=6, unique=True))
def test_any_name_is_one_valid_label(names: list[str]) -> None:
    found = read(gauge(*(({"task_type": name}, number) for number, name in enumerate(names))))
    assert len(found) <= len(names)
    for number, name in enumerate(names):
        if name.isascii() and name.isprintable() and len(name) <= LABEL_CHARS:
            assert found["spotcheck_jobs", (("task_type", name),)] == number


HOSTILE = ('"} 1\nspotcheck_jobs{x="', "\\", '\\"', "a\rb", "\x00\x1b[2J", "\ud800", "\u2028", "x" * 10_000, "", "{}")


def test_hostile_names_add_no_line_and_no_metric() -> None:
    metric = gauge(*(({"task_type": name}, 1) for name in HOSTILE))
    assert len(render([metric]).decode().split("\n")) == 2 + len(HOSTILE) + 1
    assert {name for name, _ in read(metric)} == {"spotcheck_jobs"}
    assert len(read(metric)) == len(HOSTILE)


def test_long_names_are_cut_and_stay_two() -> None:
    found = read(gauge(({"task_type": "x" * 500 + "a"}, 1), ({"task_type": "x" * 500 + "b"}, 2)))
    assert sorted(found.values()) == [1, 2]
    assert all(len(labels[0][1]) <= LABEL_CHARS for _, labels in found)


def test_the_same_series_is_told_once() -> None:
    assert list(read(gauge(({"a": "\x7f"}, 1), ({"a": "\x80"}, 2))).values()) == [1.0]


@pytest.mark.parametrize("name", ["jobs-open", "jobs_total", "Jobs"])
def test_a_wrong_name_is_our_mistake(name: str) -> None:
    with pytest.raises(AssertionError):
        gauge(({}, 1), name=name)
