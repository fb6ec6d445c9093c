"""Several answers to one question: samples of one judge, and a second judge where the first is in doubt."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.rubric_scorers import FRONT, RUN, a_rubric, a_scorer, told
from worker.errors import JudgeError, JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.records import Judging, Question, Reply, Scoring
from worker.scorers.protocol import Context, MostTokens
from worker.scorers.rubric.questions import Prepared
from worker.scorers.rubric.scorer import RubricScorer

ESCALATE = "escalate: {when: [failed_evidence, unknown, unreadable, low_confidence], to: big}"
Says = Callable[[Question, int], Any]


def with_judge(more: str, mode: str = "joint") -> RubricScorer:
    """A scorer whose rubric says so of its judge."""
    front = FRONT.replace(
        "max_output_tokens: 500", "max_output_tokens: 500, " + more.replace("{", "{{").replace("}", "}}")
    )
    return a_scorer(a_rubric(mode=mode, text=front))


def verdict(*, one: str = "pass", two: str = "pass", quote: str = "issue_refund") -> str:
    """An answer as it is asked for; both criteria stand in it."""
    said = {"one": one, "two": two}
    return json.dumps(
        {name: {"evidence": [{"step": 0, "quote": quote}], "reason": "r", "verdict": said[name]} for name in said}
    )


class Judges:
    """Answers by model; what `says` gives is a content, or an error to raise."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.asked: list[Question] = []
        self.under_way = self.most_under_way = 0

    async def __call__(self, question: Question) -> Reply:
        number = sum(earlier.model == question.model for earlier in self.asked)
        self.asked.append(question)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)  # the others come in meanwhile
        self.under_way -= 1
        content = self.says(question, number)
        if isinstance(content, JudgeError):
            raise content
        wanted = question.answer_schema["properties"]
        if content.startswith("{"):
            content = json.dumps({name: said for name, said in json.loads(content).items() if name in wanted})
        cost = 0.5 if question.model == "big" else 0.125
        judging = Judging(
            model_requested=question.model, prompt_hash=question.prompt_hash, input_tokens=10, cost_usd=cost
        )
        return Reply(content=content, finish_reason="stop", judging=judging)

    @property
    def models(self) -> list[str]:
        return [question.model for question in self.asked]


def score(scorer: RubricScorer, says: Says) -> tuple[Scoring, Judges]:
    judges = Judges(says)
    return asyncio.run(scorer.score(RUN.for_scorer(), Context(ask=judges))), judges


# Samples


def test_each_sample_is_a_call_with_the_same_prompt_and_all_run_together() -> None:
    scorer = with_judge("samples: 5")
    scoring, judges = score(scorer, lambda question, number: verdict(one="pass" if number < 2 else "fail"))
    assert [value for _, value, _ in told(scoring)] == [pytest.approx(0.4), 0.4, 1.0]
    assert [outcome.p_pass for outcome in scoring.outcomes] == [0.4, 0.4, 1.0]
    assert [outcome.label for outcome in scoring.outcomes] == ["fail", "fail", "pass"]
    assert len(judges.asked) == judges.most_under_way == 5
    assert len({json.dumps(question.model_dump(mode="json")) for question in judges.asked}) == 1
    assert scoring.judging is not None
    assert (scoring.judging.cost_usd, scoring.judging.input_tokens) == (0.625, 50)
    assert scoring.judging.prompt_hash == judges.asked[0].prompt_hash
    assert scoring.answers == (), "another sample is another answer"
    assert all(question.is_repeated for question in judges.asked)


def test_samples_of_single_criteria_are_put_together_by_criterion() -> None:
    scorer = with_judge("samples: 3", mode="per_criterion")
    scoring, judges = score(
        scorer,
        lambda question, number: verdict(one="pass" if number < 2 else "fail", two="fail" if number < 2 else "pass"),
    )
    assert [list(question.answer_schema["properties"]) for question in judges.asked] == [["one"], ["two"]] * 3
    # calls 0 and 1 are the first sample: one passes, two fails; the other two samples are the other way round
    assert [value for _, value, _ in told(scoring)[1:]] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]


def test_samples_that_cannot_be_read_cost_and_do_not_count() -> None:
    scorer = with_judge("samples: 4")
    scoring, _ = score(scorer, lambda question, number: "prose" if number % 2 else verdict(two="fail"))
    assert told(scoring) == [(None, 0.75, None), ("one", 1.0, None), ("two", 0.0, None)]
    assert scoring.judging is not None
    assert scoring.judging.cost_usd == 0.5
    scoring, _ = score(scorer, lambda question, number: "prose" if number else verdict())
    assert {reason for _, _, reason in told(scoring)} == {"parse"}


def test_a_sample_without_an_answer_is_an_outage_of_the_whole() -> None:
    with pytest.raises(JudgeUnavailable) as caught:
        score(with_judge("samples: 3"), lambda question, number: JudgeUnavailable("down") if number == 1 else verdict())
    assert caught.value.so_far is None


# A second judge


@pytest.mark.parametrize(
    ("first", "is_asked"),
    [
        (verdict(), False),
        (verdict(one="fail"), False),
        (verdict(quote="never said"), True),
        (verdict(two="unknown"), True),
        ("prose", True),
    ],
)
def test_a_first_verdict_in_doubt_goes_on_to_the_second_judge(first: str, is_asked: bool) -> None:
    scoring, judges = score(
        with_judge(ESCALATE), lambda question, _: first if question.model == "judge-1" else verdict(one="fail")
    )
    assert judges.models == ["judge-1", *["big"] * is_asked]
    assert (scoring.overruled is not None) == is_asked
    if is_asked:
        assert told(scoring) == [(None, 0.0, None), ("one", 0.0, None), ("two", 1.0, None)]
        assert scoring.judging is not None
        assert (scoring.judging.model_requested, scoring.judging.cost_usd) == ("big", 0.5)
        assert scoring.overruled is not None
        assert scoring.overruled.judging is not None
        assert (scoring.overruled.judging.model_requested, scoring.overruled.judging.cost_usd) == ("judge-1", 0.125)
        asked_first, asked_second = judges.asked
        assert asked_second == asked_first.model_copy(update={"model": "big"}), "the very same question"


def test_samples_show_a_low_confidence_and_the_second_judge_is_asked_once() -> None:
    scorer = with_judge("samples: 5, " + ESCALATE)

    def says(question: Question, number: int) -> str:
        return verdict(one="fail") if question.model == "big" or number == 0 else verdict()

    scoring, judges = score(scorer, says)
    assert judges.models == ["judge-1"] * 5, ".8 is not below .8"
    scorer = with_judge("samples: 5, " + ESCALATE.replace("to: big", "to: big, below: 0.9"))
    scoring, judges = score(scorer, says)
    assert judges.models == ["judge-1"] * 5 + ["big"]
    assert scoring.outcomes[0].value == 0.0
    assert scoring.overruled is not None
    assert scoring.overruled.outcomes[0].p_pass == 0.8
    assert [answered.question.model for answered in scoring.answers] == ["big"], "what was asked once may be kept"
    assert not judges.asked[-1].is_repeated


@pytest.mark.parametrize("second", ["prose", VerdictUnreadable("too long", reason="too_long")])
def test_the_first_verdict_counts_where_the_second_cannot_be_read(second: str | JudgeError) -> None:
    scoring, _ = score(
        with_judge(ESCALATE),
        lambda question, _: verdict(two="unknown") if question.model == "judge-1" else second,
    )
    assert told(scoring) == [(None, 1.0, None), ("one", 1.0, None), ("two", None, "unknown")]
    assert scoring.judging is not None
    assert scoring.judging.model_requested == "judge-1"
    overruled = scoring.overruled
    assert overruled is not None
    assert overruled.judging is not None
    assert overruled.judging.model_requested == "big"
    assert {reason for _, _, reason in told(overruled)} == {"parse" if isinstance(second, str) else "too_long"}
    assert overruled.judging.cost_usd == (0.5 if isinstance(second, str) else None)


def test_a_second_judge_that_says_unknown_has_spoken() -> None:
    scoring, _ = score(
        with_judge(ESCALATE),
        lambda question, _: (
            verdict(quote="no") if question.model == "judge-1" else verdict(one="unknown", two="unknown")
        ),
    )
    assert {reason for _, _, reason in told(scoring)} == {"unknown"}


@pytest.mark.parametrize("error", [JudgeUnavailable("down"), JudgeRefusesUs("no such model")])
def test_an_outage_of_the_second_judge_carries_what_the_first_said(error: JudgeError) -> None:
    with pytest.raises(type(error)) as caught:
        score(with_judge(ESCALATE), lambda question, _: verdict(quote="no") if question.model == "judge-1" else error)
    assert isinstance(caught.value.so_far, Scoring)
    assert caught.value.so_far.outcomes[0].value == 1.0
    assert [answered.question.model for answered in caught.value.so_far.answers] == ["judge-1"]


def test_only_readable_answers_are_worth_keeping() -> None:
    scoring, _ = score(with_judge(ESCALATE), lambda question, _: verdict() if question.model == "big" else "prose")
    assert [answered.question.model for answered in scoring.answers] == ["big"]
    assert scoring.overruled is not None
    assert scoring.overruled.answers == ()
    scoring, _ = score(
        with_judge("samples: 1", mode="per_criterion"), lambda question, number: verdict() if number else "prose"
    )
    (kept,) = scoring.answers
    assert list(kept.question.answer_schema["properties"]) == ["two"]


def test_the_configured_judge_is_not_asked_twice_where_it_is_the_second_one_itself() -> None:
    front = FRONT.replace("max_output_tokens", "escalate: {{when: [unknown], to: big}}, max_output_tokens")
    scorer = a_scorer(a_rubric(text=front), model="big")
    judges = Judges(lambda question, _: verdict(two="unknown"))
    asyncio.run(scorer.score(RUN.for_scorer(), Context(ask=judges)))
    assert judges.models == ["big"]
    assert "escalate" not in scorer.key.spec


# What it can cost, and who it is


def test_the_most_it_can_use_counts_every_sample_and_the_second_judge() -> None:
    (once,) = with_judge("samples: 1").max_tokens
    assert once == MostTokens("judge-1", 1, once.input_tokens, 500)
    (five,) = with_judge("samples: 5").max_tokens
    # the prompt's own text counts too, and it says `samples: 5`
    assert five == MostTokens("judge-1", 5, 5 * once.input_tokens, 2500)
    first, second = with_judge("samples: 5, " + ESCALATE, mode="per_criterion").max_tokens
    assert (first.model, first.calls, first.output_tokens) == ("judge-1", 10, 5000)
    assert (second.model, second.calls, second.output_tokens) == ("big", 2, 1000)
    assert first.input_tokens == 5 * second.input_tokens


def test_a_question_that_is_too_long_is_not_asked_however_often_it_would_be() -> None:
    scorer = with_judge("samples: 5")
    prepared = scorer.prepare(RUN.for_scorer())
    assert isinstance(prepared, Prepared)
    assert len(prepared.questions) == 5
    scorer.__dict__["_max_input_tokens"] = 10
    refused = scorer.prepare(RUN.for_scorer())
    assert isinstance(refused, Scoring)
    assert told(refused)[0] == (None, None, "too_long")


def test_samples_and_a_second_judge_are_a_part_of_who_it_is_and_one_sample_is_not() -> None:
    plain = with_judge("samples: 1")
    assert set(plain.key.spec) == {
        "rubric", "rubric_hash", "model", "backend", "params", "max_output_tokens", "digest_version", "redact"
    }  # fmt: skip
    assert with_judge("samples: 3").key.spec["samples"] == 3
    cascade = with_judge(ESCALATE).key.spec["escalate"]
    assert cascade == {
        "when": ["failed_evidence", "unknown", "unreadable", "low_confidence"],
        "to": "big",
        "below": 0.8,
        "required": ["one"],
    }


def test_another_version_or_threshold_asks_the_same_question_and_another_criterion_another() -> None:
    version = a_scorer(
        a_rubric(text=FRONT.replace("1.0.0", "2.0.0").replace("mode:", "pass: {{threshold: 0.9}}\nmode:"))
    )
    assert version.builder.question(RUN) == a_scorer().builder.question(RUN)
    assert version.key.fingerprint != a_scorer().key.fingerprint
    other = a_scorer(a_rubric(text=FRONT.replace("The second thing holds.", "Something else holds.")))
    assert other.builder.question(RUN).prompt_hash == a_scorer().builder.question(RUN).prompt_hash, (
        "this template does not show it"
    )
    third = a_scorer(a_rubric(text=FRONT.replace("id: two", "id: third")))
    assert third.builder.question(RUN).messages[1] != a_scorer().builder.question(RUN).messages[1], (
        "another word around the data"
    )


def test_openai_s_own_address_is_told_which_questions_begin_alike() -> None:
    routed = a_scorer(is_routed=True)
    key = routed.builder.question(RUN).params["prompt_cache_key"]
    assert key.startswith("spotcheck-")
    assert routed.builder.question(RUN.model_copy(update={"run_id": "r-2"})).params["prompt_cache_key"] == key
    other = a_scorer(a_rubric(text=FRONT.replace("id: two", "id: third")), is_routed=True)
    assert other.builder.question(RUN).params["prompt_cache_key"] != key
    assert "prompt_cache_key" not in a_scorer().builder.question(RUN).params
    assert routed.key == a_scorer().key, "it changes nothing of the verdict"
    own = a_scorer(is_routed=True, params={"prompt_cache_key": "mine"})
    assert own.builder.question(RUN).params["prompt_cache_key"] == "mine"
