"""Packed judgments come back to the character, whatever is in them, and take the room of what is particular only."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rubric_scorers import FRONT, RUN, a_rubric, a_scorer
from worker.records import CACHED, JudgeCall, Judging, Question, Reply
from worker.scorers.rubric.calls import prompt_hash
from worker.scorers.rubric.judgment import MAX_ANSWER_CHARS, StoredJudgment, unpack
from worker.scorers.rubric.questions import Prepared
from worker.scorers.rubric.scorer import RubricScorer

ANSWER = json.dumps({name: {"evidence": [], "reason": "r", "verdict": "pass"} for name in ("one", "two")})
ANY_TEXT = st.text(st.characters(codec=None), max_size=60)
"""Lone surrogates, NUL and control characters included."""


def asked(scorer: RubricScorer, output: str | None = RUN.output, **over: Any) -> tuple[Question, ...]:
    prepared = scorer.prepare(RUN.model_copy(update={"output": output, **over}).for_scorer())
    assert isinstance(prepared, Prepared)
    return prepared.questions


def answered(question: Question, content: str | None = ANSWER, **over: Any) -> JudgeCall:
    judging = Judging(model_requested=question.model, prompt_hash=question.prompt_hash, **over)
    return JudgeCall(question, Reply(content=content, finish_reason="stop", judging=judging))


def there_and_back(scorer: RubricScorer, calls: Sequence[JudgeCall], **over: Any) -> StoredJudgment:
    packed = scorer.packer.pack(calls, **{"revision": 1} | over)
    return unpack(packed.body, packed.static)


def assert_exact(scorer: RubricScorer, calls: Sequence[JudgeCall]) -> None:
    found = there_and_back(scorer, calls)
    assert [call.messages for call in found.calls] == [call.question.messages for call in calls]
    for back, call in zip(found.calls, calls, strict=True):
        assert back.schema == call.question.answer_schema
        assert prompt_hash(back.messages, back.asked) == call.question.prompt_hash


@pytest.mark.parametrize("mode", ["joint", "per_criterion"])
def test_a_judgment_comes_back_with_everything_that_was_asked_and_said(mode: str) -> None:
    scorer = a_scorer(a_rubric(mode=mode))
    used: dict[str, Any] = {
        "input_tokens": 9,
        "cost_usd": 0.0,
        "params_effective": {"temperature": 0},
        "service_tier": CACHED,
    }
    calls = [answered(question, **used) for question in asked(scorer)]
    assert_exact(scorer, calls)
    found = there_and_back(scorer, calls, revision=3, suspicions=("override",))
    assert (found.revision, found.suspicions) == (3, ("override",))
    assert found.passing == {
        "threshold": 0.5,
        "on": "p_pass",
        "samples": 1,
        "criteria": [
            {"id": "one", "weight": 3.0, "required": True},
            {"id": "two", "weight": 1.0, "required": False},
        ],
    }
    reply = found.calls[0].reply
    assert reply is not None
    assert {"content": ANSWER, "finish_reason": "stop", **used}.items() <= reply.items()
    assert "output_tokens" not in reply, "what is not known takes no room"


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_TEXT, min_size=1, max_size=3), ANY_TEXT, ANY_TEXT)
def test_any_text_comes_back_to_the_character(texts: list[str], content: str, error: str) -> None:
    scorer = a_scorer()
    (question,) = asked(scorer)
    (system, user) = question.messages
    calls = []
    for text in texts:
        messages = (system, user._replace(content=text + user.content + text))
        own = question.model_copy(update={"messages": messages, "prompt_hash": prompt_hash(messages)})
        calls += [answered(own, content), JudgeCall(own, error=error)]
    assert_exact(scorer, calls)
    found = there_and_back(scorer, calls)
    assert [call.reply["content"] if call.reply else "" for call in found.calls[::2]] == [content] * len(texts)
    assert [call.error for call in found.calls[1::2]] == [error or "not answered"] * len(texts)


def test_two_halves_of_a_character_do_not_become_one() -> None:
    scorer = a_scorer()
    (question,) = asked(scorer)
    messages = (*question.messages[:-1], question.messages[-1]._replace(content="\ud83d" + "\ude00" + "\U0001f600"))
    call = answered(question.model_copy(update={"messages": messages}))
    (found,) = there_and_back(scorer, [call]).calls
    assert [len(message.content) for message in found.messages][-1] == 3
    assert found.messages == messages


def test_numbers_that_json_or_a_database_dislikes_are_no_trouble() -> None:
    scorer = a_scorer()
    (question,) = asked(scorer)
    odd = {"seed": 2**70, "top_p": float("nan"), "at": object}
    found = there_and_back(scorer, [answered(question, params_effective=odd)])
    assert found.calls[0].messages == question.messages


def test_the_same_judgment_packs_to_the_same_bytes_in_every_process() -> None:
    one, other = a_scorer(), a_scorer()
    packed = [scorer.packer.pack([answered(asked(scorer)[0])], revision=1) for scorer in (one, other)]
    assert packed[0] == packed[1]
    assert a_scorer(a_rubric(text=FRONT.replace("Decide.", "Decide!"))).packer.static != one.packer.static


def noise(chars: int, seed: int = 1) -> str:
    """Text that hardly shrinks."""
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=chars))


def size(scorer: RubricScorer, **over: Any) -> int:
    calls = [answered(question) for question in asked(scorer, **over)]
    assert_exact(scorer, calls)
    return len(scorer.packer.pack(calls, revision=1).body)


@pytest.mark.parametrize("chars", [1_000, 31_000])
def test_a_static_part_takes_no_room_however_long_it_is(chars: int) -> None:
    """zlib looks 32 kB back."""
    plain = size(a_scorer())
    instructions = noise(chars)
    text = FRONT.replace("Decide.", f"{noise(chars, 2)} Decide.").replace("{{% for", instructions + "{{% for", 1)
    assert size(a_scorer(a_rubric(text=text))) < plain + 120


def test_a_run_that_several_calls_show_is_stored_once_however_long_it_is() -> None:
    budget = FRONT.replace("judge:", "trace: {{budget_tokens: 20000}}\njudge:")
    long = noise(60_000)
    joint = size(a_scorer(a_rubric(text=budget)), output=long)
    assert joint > 5_000
    assert size(a_scorer(a_rubric(text=budget, mode="per_criterion")), output=long) < joint + 300
    samples = budget.replace("{{params", "{{samples: 5, params").replace("temperature: 0", "temperature: 1")
    assert size(a_scorer(a_rubric(text=samples)), output=long) < joint + 300


def test_a_long_answer_is_cut_and_its_length_is_kept() -> None:
    scorer = a_scorer()
    (question,) = asked(scorer)
    whole, long = "y" * MAX_ANSWER_CHARS, "z" * (3 * MAX_ANSWER_CHARS)
    found = there_and_back(scorer, [answered(question, whole), answered(question, long)])
    assert [dict(call.cut) for call in found.calls] == [{}, {"content": len(long)}]
    assert [call.reply["content"] for call in found.calls if call.reply] == [whole, long[:MAX_ANSWER_CHARS]]
    assert len(scorer.packer.pack([answered(question, noise(10**6))], revision=1).body) < MAX_ANSWER_CHARS


def test_a_question_of_no_rubrics_call_is_kept_with_its_schema() -> None:
    scorer = a_scorer()
    (question,) = asked(scorer)
    other = question.model_copy(update={"answer_schema": {"type": "object"}, "messages": question.messages[:1]})
    (found,) = there_and_back(scorer, [answered(other)]).calls
    assert (found.messages, found.schema) == (question.messages[:1], {"type": "object"})


@pytest.mark.parametrize("static", [b"", b"{}", b"something else", b"\xff\x00"])
def test_what_does_not_belong_together_is_one_kind_of_error(static: bytes) -> None:
    scorer = a_scorer()
    packed = scorer.packer.pack([answered(asked(scorer)[0])], revision=1)
    for body in (packed.body, packed.body[:20], b"", b"no zlib"):
        with pytest.raises(ValueError, match=r"^the stored prompt cannot be read: "):
            unpack(body, static)
