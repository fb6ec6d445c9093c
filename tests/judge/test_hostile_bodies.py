"""Whatever a server sends with a 200, over any backend: a reply that can be stored, or one of the judge's errors."""

import asyncio
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from worker.core.judging.verdict import ShownText, aggregate, criterion_questions, read_reply
from worker.core.rubric.parse import parse
from worker.demo.judge.server import Answer, JudgeServer
from worker.errors import JudgeError
from worker.judge.client import ChatJudge
from worker.judge.wire.registry import WIRES
from worker.records import Message, Question, Reply

RUBRIC = parse(
    """---
name: demo
version: 1.0.0
criteria: [{id: one, question: "One?", pass_when: It holds.}]
---
{% chat role="system" %}x{% endchat %}{% chat role="user" %}{{ run | fenced }}{% endchat %}
""",
    "x",
)
BIG = b"1" + b"0" * 400
NUL = rb'"\u0000\ud83d\ude00"'
WORDS: list[bytes] = [
    b"null", b"true", b"-1", b"1e308", b"9223372036854775808", BIG, b'""', b'"pass"', NUL, b"[]", b"[[[]]]", b"{}",
    b"[null]",
    b'[{"type": "message", "content": "pass"}]', b"[" * 500 + b"]" * 500, b'{"one": {"verdict": "pass"}}',
    b"[" * 5000 + b"]" * 5000, b'"' + b"x" * 300_000 + b'"',
]  # fmt: skip
SHAPES = {
    "chat": [
        b'{"choices": %s}',
        b'{"choices": [{"message": %s, "finish_reason": "length"}], "usage": %s}',
        b'{"choices": [{"message": %s, "finish_reason": "stop"}], "usage": {"completion_tokens": 9}}',
        b'{"choices": [{"message": {"content": %s, "tool_calls": %s, "refusal": %s}, "logprobs": %s}], "model": %s}',
        b'{"choices": [{"message": {"content": "{}"}, "finish_reason": %s, "logprobs": {"content": %s}}]}',
        b'{"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": %s, "prompt_tokens_details": %s}}',
    ],
    "responses": [
        b'{"output": %s, "status": %s}',
        b'{"output": [{"type": "message", "content": %s}], "error": %s}',
        b'{"output": [{"type": "message", "content": [{"text": %s, "refusal": %s, "logprobs": %s}]}], "usage": %s}',
        b'{"output": [{"type": "function_call", "arguments": %s}], "incomplete_details": %s, "status": "incomplete"}',
        b'{"output": [], "usage": {"input_tokens": %s, "input_tokens_details": %s, "output_tokens": %s}, "model": %s}',
    ],
    "decisions": [
        b'{"answers": %s}',
        b'{"answers": [%s], "usage": %s, "model": %s}',
        b'{"answers": [{"type": %s, "name": %s, "choice": %s, "probabilities": %s}]}',
        b'{"answers": [{"type": "choice", "choice": %s, "probabilities": [{"value": %s, "probability": %s}]}]}',
        b'{"answers": [], "usage": {"input_tokens": %s, "input_tokens_details": %s, "output_tokens": %s}}',
    ],
}  # fmt: skip


def a_question(backend: Any) -> Question:
    return Question(
        backend=backend,
        messages=(Message("user", "The run."),),
        answer_schema={
            "type": "object",
            "properties": {"one": {"type": "object", "properties": {"verdict": {"enum": ["pass", "fail", "unknown"]}}}},
        },
        schema_name="demo",
        model="m",
        wants_probabilities=True,
        may_repair=backend != "decisions",
        asked=criterion_questions(RUBRIC.criteria) if backend == "decisions" else (),
        prompt_hash="0" * 16,
    )


@pytest.mark.parametrize("backend", ["chat", "responses", "decisions"])
@pytest.mark.parametrize("shape", range(6))
def test_nothing_a_server_says_gets_through_as_anything_else(backend: Any, shape: int) -> None:
    body = b""
    question = a_question(backend)

    async def run() -> int:
        nonlocal body
        replies = 0
        async with JudgeServer(
            lambda request, headers: Answer(body=body), path=f"/v1{WIRES[question.backend].path}"
        ) as server:
            judge = ChatJudge(server.base_url, SecretStr("k"), price=lambda model, *counts: float(sum(counts[:3])))
            for word in WORDS:
                body = SHAPES[backend][shape % len(SHAPES[backend])].replace(b"%s", word)
                try:
                    reply = await judge.ask(question)
                except JudgeError:
                    continue
                replies += 1
                _can_be_stored(reply)
            await judge.close()
        return replies

    # words where the choices should be are no answer at all
    assert (asyncio.run(run()) > 0) == ((backend, shape) != ("chat", 0)), "some of it is read"


def _can_be_stored(reply: Reply) -> None:
    outcomes = read_reply(reply, RUBRIC.criteria, ShownText({}))
    whole = aggregate(RUBRIC, outcomes, reply.probabilities)
    for outcome in (whole, *outcomes):
        said = orjson.dumps(outcome.model_dump())
        assert b"\\u0000" not in said
        assert len(said) < 20_000
    judging = reply.judging
    for count in (judging.input_tokens, judging.cached_tokens, judging.output_tokens):
        assert count is None or 0 <= count < 2**31
    assert len(judging.model_served or "") <= 200
