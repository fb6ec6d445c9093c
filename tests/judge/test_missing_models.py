"""Models that a server does not have: which of them are left alone, and for how long."""

from worker.judge.missing_models import LEFT_S, MissingModels


def test_a_refused_model_is_left_alone_for_its_time_and_asked_again_after_it() -> None:
    now = 1_000.0
    missing = MissingModels(lambda: now)
    missing.add("gone", "404: no model gone")
    assert missing.any_of(["here", "gone"])
    assert not missing.any_of(["here"])
    assert missing.line() == "404: no model gone"
    now += LEFT_S - 1
    assert missing.any_of(["gone"])
    now += 1
    assert not missing.any_of(["gone"])
    assert missing.line() is None


def test_a_refusal_that_is_repeated_counts_from_the_last_one_with_its_words() -> None:
    now = 0.0
    missing = MissingModels(lambda: now)
    missing.add("gone", "first")
    now = LEFT_S - 1
    missing.add("gone", "second")
    now = LEFT_S + 1
    assert missing.any_of(["gone"])
    assert missing.line() == "second"


def test_what_is_asked_for_again_is_not_missing_any_more_and_others_stay() -> None:
    missing = MissingModels(lambda: 0.0)
    missing.add("gone", "first")
    missing.add("also gone", "second")
    missing.discard(["gone", "never heard of"])
    assert not missing.any_of(["gone"])
    assert missing.any_of(["also gone"])
    assert missing.line() == "second"


def test_at_most_three_refusals_are_told() -> None:
    missing = MissingModels(lambda: 0.0)
    for number in range(5):
        missing.add(f"model-{number}", f"no {number}")
    assert missing.line() == "no 0; no 1; no 2"
