"""Why an answer ended, by every name servers have for it; what nobody knows stays as it is and costs no verdict."""

import pytest

from tests.support.judge_questions import a_question
from worker.core.judging.verdict_problem import reply_problem
from worker.judge.wire.chat import ChatWire
from worker.judge.wire.finish_reasons import finish_reason

GOOD = '{"verdict":"pass"}'


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("MAX_TOKENS", "length"),
        ("FinishReason.MAX_TOKENS", "length"),
        ("FINISH_REASON_MAX_TOKENS", "length"),
        ("max tokens", "length"),
        ("model-length", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("sensitive", "content_filter"),
        ("refusal", "refusal"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("eos", "stop"),
        ("brand_new", "brand_new"),
        ("", None),
        (["stop"], None),
    ],
)
def test_a_name_is_understood_whoever_gave_it(said: object, meant: str | None) -> None:
    assert finish_reason(said) == meant


def test_a_whole_verdict_that_ended_for_an_unknown_reason_is_read() -> None:
    choice = {"message": {"content": GOOD}, "finish_reason": "brand_new"}
    usage = {"prompt_tokens": 90, "completion_tokens": 9}
    body = {"choices": [choice], "usage": usage}
    reply = ChatWire().read(body, a_question(), {}, latency_ms=None, price=None)
    assert (reply.content, reply_problem(reply)) == (GOOD, None)
