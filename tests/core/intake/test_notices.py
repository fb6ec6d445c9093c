"""What was noticed of an intake: counted in bounded memory, told in a few lines."""

from worker.core.intake.notices import Noticed, as_json, of_an_intake, sentences


def test_each_thing_is_told_once_with_its_number_and_what_was_probably_meant() -> None:
    noticed = of_an_intake()
    for run in range(3):
        one = Noticed()
        one.add("unknown", "step", "lattency_ms", count=4)
        one.add("unknown", "run", "csat")
        one.add("unknown", "run", "answer")
        one.add("renamed", "step", "tokens_in", "input_tokens", 2)
        one.add("unknown_kind", "step", "teapot")
        one.add("unknown_kind", "step", "")
        one.dropped("run", "cost_usd", f"free {run}")
        noticed.merge(one.all())
    assert sentences(noticed.all()) == [
        "read under another name: steps' tokens_in as input_tokens (6)",
        "3 runs have cost_usd that cannot be read, like 'free 0': left out",
        "3 steps have kind `teapot`, which counts as other; kinds are model, tool, agent, other",
        "3 steps have no kind, counted as other; kinds are model, tool, agent, other",
        "12 steps have `lattency_ms`, which is not a field and is left out; did you mean duration_ms (milliseconds)?",
        "3 runs have `answer`, which is not a field and is kept as a tag; did you mean output?",
        "kept as tags: csat (3)",
    ]
    assert as_json(noticed.all())[0] == {
        **dict(zip(("what", "where", "name", "detail"), ("unknown", "step", "lattency_ms", ""), strict=True)),
        "count": 12,
        "did_you_mean": "duration_ms",
    }


def test_names_from_outside_are_bounded_and_stay_on_their_line() -> None:
    noticed = of_an_intake()
    for number in range(20_000):
        noticed.add("unknown", "run", f"answer{number}\n" + "x" * 10_000)
        noticed.dropped("step", f"field {number}", {"a": "b" * 10_000})
    assert len(noticed.all()) <= 502
    assert sum(notice.number for notice in noticed.all()) == 40_000
    said = sentences(noticed.all())
    assert len(said) < 20
    assert not [line for line in said if "\n" in line or len(line) > 800]


def test_nothing_noticed_is_nothing_said() -> None:
    assert sentences(of_an_intake().all()) == []
