"""What servers do, and what is made of it: each row of the table in docs/judges.md, over HTTP on loopback."""

import asyncio
import gzip
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.judge_forms import form_of
from tests.support.judge_questions import SCHEMA, a_question
from worker.core.judging.answer_json import is_as_agreed, json_of
from worker.core.judging.fitting import fitted
from worker.core.judging.verdict_problem import reply_problem
from worker.demo.judge.server import Answer, JudgeServer, completion, refused
from worker.errors import JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.judge.capabilities import CapabilityPlan
from worker.judge.client import SILENCES, ChatJudge
from worker.records import Message

PAGE = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
GOOD = '{"verdict":"pass"}'
Script = Callable[[dict[str, Any]], Answer]


def said(content: object, **over: Any) -> Script:
    """A server that always answers with this content."""
    return lambda request: completion(content, **({"tokens_out": 9} | over))


def message(finish_reason: str = "stop", /, **fields: Any) -> Script:
    """A server whose message has these fields."""
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 90, "completion_tokens": 9}
    return lambda request: Answer(body={"choices": [choice], "model": "m", "usage": usage})


def raw(body: bytes, **headers: str) -> Script:
    return lambda request: Answer(body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def whole(content: str = GOOD) -> bytes:
    body = completion(content, tokens_out=9).body
    assert isinstance(body, Mapping)
    return json.dumps(body).encode()


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"model": "m", "choices": [choice]}).encode() + b"\n\n"


STREAM = b": PROCESSING\n\n" + chunk({"role": "assistant", "content": GOOD[:7]}) + chunk({"content": GOOD[7:]})
CALL = {"name": "task_completion", "arguments": {"verdict": "pass"}}


def knows(*forms: str, otherwise: Answer | None = None) -> Script:
    """A server that knows some forms, and refuses the others or gives `otherwise` for them."""

    def answer(request: dict[str, Any]) -> Answer:
        if form_of(request) in forms:
            return completion(GOOD, tokens_out=9)
        return otherwise or refused(400, f"response_format {form_of(request)} or tools are not supported")

    return answer


BROKEN = (
    b"data: "
    + json.dumps(
        {
            "error": {"code": 502, "message": "Provider disconnected"},
            "choices": [{"delta": {}, "finish_reason": "error"}],
        }
    ).encode()
)
USAGE = {"prompt_tokens": 90, "completion_tokens": 9}
TWO = json.dumps(
    {
        "choices": [
            {"index": 1, "message": {"content": ""}, "finish_reason": "stop"},
            {"index": 0, "message": {"content": GOOD}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 90, "completion_tokens": 9},
    }
).encode()
NOTHING = "\n* Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: m\nPlease retry in 24s."
BILL = "You exceeded your current quota, please check your plan and billing details."
LONG = "The ledger of the branch lists many small movements of goods and money in this week. " * 300
BEHAVIOURS: dict[str, tuple[Script, str, int]] = {
    "reasoning in tags before the JSON": (said("<think>\nIt is {so}.\n</think>\n\n" + GOOD), "scored", 1),
    "only the closing tag of the reasoning": (said("It is so.\n</think>\n" + GOOD), "scored", 1),
    "gpt-oss's channels": (
        said("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>" + GOOD),
        "scored",
        1,
    ),
    "reasoning that never ends": (said("<think>It is so. " + GOOD), "unscored(parse)", 4),
    "a Markdown fence of any spelling": (said("~~~JSON5\r\n" + GOOD + "\r\n~~~"), "scored", 1),
    "a fence with a label before and a few words behind it": (
        said("Here is my verdict:\n\n```json\n" + GOOD + "\n```\n\nLet me know if you need more."),
        "scored",
        1,
    ),
    "end tokens behind the JSON": (said(GOOD + "<|im_end|>\n</s>"), "scored", 1),
    "other words around the JSON": (said("The agent wrote: " + GOOD), "unscored(parse)", 4),
    "two JSON objects": (said(GOOD + "\n" + GOOD), "unscored(parse)", 1),
    "a key that stands twice": (said('{"verdict":"fail","verdict":"pass"}'), "unscored(parse)", 1),
    "a bare line break in a string": (said('{"verdict":"pass","why":"a\nb"}'), "scored", 1),
    "keys and verdict in another case": (said('{"Verdict":"PASS"}'), "scored", 1),
    "one more object around the JSON": (said('{"result":' + GOOD + "}"), "scored", 1),
    "a list of the one object": (said(f"[{GOOD}]"), "scored", 1),
    "the JSON as a text within JSON": (said(json.dumps(GOOD)), "scored", 1),
    "the whole body as a text within JSON": (raw(json.dumps(whole().decode()).encode()), "scored", 1),
    "another choice before the first": (raw(TWO), "scored", 1),
    "0 tokens written": (said(GOOD, tokens_out=0), "scored", 1),
    "content in parts whose text holds a value": (
        message(content=[{"type": "text", "text": {"value": GOOD, "annotations": []}}]),
        "scored",
        1,
    ),
    "a text for a message": (
        raw(json.dumps({"choices": [{"message": GOOD, "finish_reason": "stop"}], "usage": USAGE}).encode()),
        "scored",
        1,
    ),
    "a piece of a stream for a message": (
        raw(json.dumps({"choices": [{"delta": {"content": GOOD}, "finish_reason": "stop"}], "usage": USAGE}).encode()),
        "scored",
        1,
    ),
    "an empty tool call beside the JSON": (
        message(content=GOOD, tool_calls=[{"type": "function", "function": {"name": "x", "arguments": "{}"}}]),
        "scored",
        1,
    ),
    "content in parts": (
        message(content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": GOOD}]),
        "scored",
        1,
    ),
    "the JSON in the field for reasoning": (message(content=None, reasoning_content=GOOD), "scored", 1),
    "reasoning in the field for reasoning, and no content": (
        message(content=None, reasoning_content="The run says: " + GOOD),
        "unscored(empty_answer)",
        1,
    ),
    "the content as an object": (message(content={"verdict": "pass"}), "scored", 1),
    "a tool's arguments as an object": (
        message("tool_calls", content=None, tool_calls=[{"type": "function", "function": CALL}]),
        "scored",
        1,
    ),
    "`function_call` instead of `tool_calls`": (message(content=None, function_call=CALL), "scored", 1),
    "a tool call as text": (said(f"<tool_call>{json.dumps(CALL)}</tool_call>"), "scored", 1),
    "half an emoji in the body": (raw(whole(GOOD[:-1] + ',"why":"\ud83d"}')), "scored", 1),
    "a stream though none was asked for": (raw(STREAM + chunk({}, "stop") + b"data: [DONE]\n\n"), "scored", 1),
    "a stream without its end": (raw(STREAM), "tried again", 1),
    "`[DONE]` behind a whole completion": (raw(whole() + b"\n\ndata: [DONE]\n\n"), "scored", 1),
    "a body in gzip though none was asked for": (raw(gzip.compress(whole()), content_encoding="gzip"), "scored", 1),
    "no choice": (raw(b'{"choices": [], "usage": {"prompt_tokens": 9}}'), "tried again", 1),
    "an empty answer without a count of tokens": (
        raw(b'{"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}'),
        "tried again",
        1,
    ),
    "an answer that ended in an error": (message("error", content=""), "tried again", 1),
    "a part of an answer that ended in an error": (message("error", content=GOOD[:-3]), "tried again", 1),
    "a whole answer that ended in an error": (message("error", content=GOOD), "scored", 1),
    "a stream with an error in its middle": (raw(chunk({"content": GOOD[:7]}) + BROKEN), "tried again", 1),
    "an error with status 200": (raw(b'{"error": {"message": "upstream timed out", "code": 524}}'), "tried again", 1),
    "a limit by the minute in the words of a bill": (
        lambda request: Answer(429, body={"error": {"message": BILL + " Please retry in 4.2s."}}),
        "tried again",
        1,
    ),
    "a limit of 0, though it says when to try again": (
        lambda request: Answer(429, body=json.dumps([{"error": {"message": BILL + NOTHING}}]).encode()),
        "stops",
        1,
    ),
    "Bedrock's throttling with a 400": (
        lambda request: Answer(400, body={"__type": "ThrottlingException", "message": "Too many tokens, please wait."}),
        "tried again",
        1,
    ),
    "a 403 about what the run says": (
        lambda request: Answer(403, body={"error": {"message": "Your input was flagged", "code": 403}}),
        "unscored(content_filter)",
        1,
    ),
    "vLLM's error of too long a prompt with status 200": (
        raw(b'{"object": "error", "message": "This model\'s maximum context length is 9 tokens", "code": 400}'),
        "unscored(too_long)",
        1,
    ),
    "a limit by the minute with a 403": (
        lambda request: Answer(403, body={"code": 50603, "message": "RPM limit exceeded. Complete verification."}),
        "tried again",
        1,
    ),
    "a failure in words of its own with status 200": (
        raw(b'{"code": 50505, "msg": "model service overloaded", "data": null}'),
        "tried again",
        1,
    ),
    "a bill in words of its own with status 200": (
        raw(b'{"choices": null, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}'),
        "stops",
        1,
    ),
    "a bill in Chinese": (
        lambda request: Answer(429, body={"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试。"}}),
        "stops",
        1,
    ),
    "a bill with a 400": (
        lambda request: Answer(400, body={"error": {"code": "Arrearage", "message": "Access denied"}}),
        "stops",
        1,
    ),
    "a bill": (
        lambda request: Answer(429, body={"error": {"message": BILL, "code": "insufficient_quota"}}),
        "stops",
        1,
    ),
    "498, Groq's for a full tier": (lambda request: Answer(498, body={"error": {"message": "full"}}), "tried again", 1),
    "a count of tokens far below the words of the prompt": (
        lambda request: Answer(body=json.loads(whole()) | {"usage": {"prompt_tokens": 2_050, "completion_tokens": 9}}),
        "unscored(prompt_cut)",
        1,
    ),
    "a web page": (raw(b"<html>Welcome</html>", content_type="text/html"), "stops", 1),
    "`MAX_TOKENS` as the reason of the end": (said('{"ver', finish_reason="MAX_TOKENS"), "unscored(truncated)", 1),
    "`length` as the reason of the end of a whole object": (said(GOOD + " \n", finish_reason="length"), "scored", 1),
    "`sensitive` as the reason of the end": (said("", finish_reason="sensitive"), "unscored(content_filter)", 1),
    "no JSON Schema, but tools": (knows("tool"), "scored", 2),
    "a 400 for an answer that is no JSON (Groq)": (
        knows("tool", otherwise=refused(400, "Failed to validate JSON. Please adjust your prompt.")),
        "scored",
        2,
    ),
    "only JSON objects": (knows("json_object"), "scored", 3),
    "only plain prompts": (knows("text"), "scored", 4),
    "JSON of another shape where it ignores the schema": (
        knows("json_object", otherwise=completion('{"result": "pass"}', tokens_out=9)),
        "scored",
        3,
    ),
    "prose where it does not know the form": (
        knows("json_object", otherwise=completion("It passes, I think.", tokens_out=9)),
        "scored",
        3,
    ),
}


def told(script: Script, question: str = "Was it done?") -> tuple[str, int]:
    """What becomes of one question, and how many requests it took."""
    asked = 0

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        nonlocal asked
        asked += 1
        return script(request)

    async def run() -> str:
        async with JudgeServer(answer) as server:
            judge = ChatJudge(server.base_url, None)
            try:
                reply = await judge.ask(a_question(messages=(Message("user", question),)))
            except JudgeUnavailable:
                return "tried again"
            except JudgeRefusesUs:
                return "stops"
            except VerdictUnreadable as error:
                return f"unscored({error.reason})"
            finally:
                await judge.close()
            if problem := reply_problem(reply):
                return f"unscored({problem})"
            try:
                read = fitted(json_of(reply.content or ""), SCHEMA)
            except VerdictUnreadable as error:
                return f"unscored({error.reason})"
            return "scored" if isinstance(read, dict) and read.get("verdict") == "pass" else "unscored(parse)"

    return asyncio.run(run()), asked


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_what_becomes_of_an_answer(behaviour: str) -> None:
    script, outcome, requests = BEHAVIOURS[behaviour]
    assert told(script, LONG if "words of the prompt" in behaviour else "Was it done?") == (outcome, requests)


def test_the_table_of_the_docs_is_this_one() -> None:
    rows = re.findall(r"^\| (.+?) \| (\w+(?:\(\w+\))?(?: again)?)[^|]*\| (\d+) \|$", PAGE, re.MULTILINE)
    documented = [(name, outcome, int(requests)) for name, outcome, requests in rows]
    assert documented == [(name, outcome, requests) for name, (_, outcome, requests) in BEHAVIOURS.items()]


def concurrently(script: Script, questions: int) -> tuple[list[bool], list[str]]:
    """Whether each of some questions, asked at once, has a verdict; and the forms in which they were asked."""
    forms: list[str] = []

    async def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        forms.append(form_of(request))
        await asyncio.sleep(0.02)  # so that calls overlap
        return script(request)

    async def run() -> list[bool]:
        async with JudgeServer(answer) as server:
            judge = ChatJudge(server.base_url, None)
            replies = await asyncio.gather(*(judge.ask(a_question()) for _ in range(questions)))
            await judge.close()
            return [is_as_agreed(reply.content or "", SCHEMA) for reply in replies]

    return asyncio.run(run()), forms


def test_of_many_questions_answered_in_prose_one_goes_down_the_forms() -> None:
    read, forms = concurrently(said("It passes, I think."), 6)
    assert read == [False] * 6
    assert sorted(forms) == sorted(["json_schema"] * 6 + ["tool", "json_object", "text"])


def test_the_others_are_asked_in_the_form_that_it_finds() -> None:
    read, forms = concurrently(knows("json_object", otherwise=completion("It passes.", tokens_out=9)), 6)
    assert read == [True] * 6
    assert sorted(forms) == sorted(["json_schema"] * 6 + ["tool"] + ["json_object"] * 6)


def test_a_server_that_is_silent_in_a_form_is_asked_in_a_simpler_one() -> None:
    read, forms = concurrently(knows("text", otherwise=completion(None, tokens_out=9)), 6)
    assert read == [False] * (SILENCES - 1) + [True] * (6 - SILENCES + 1)
    assert sorted(forms) == sorted(["json_schema"] * 6 + ["tool", "json_object"] + ["text"] * (6 - SILENCES + 1))


def asked_again(script: Script, remembered: dict[str, CapabilityPlan]) -> int:
    """How many requests one question takes in a process that knows this; what it learns is added."""
    asked = 0

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        nonlocal asked
        asked += 1
        return script(request)

    async def run() -> None:
        async with JudgeServer(answer) as server:
            told: dict[str, CapabilityPlan] = {}
            judge = ChatJudge(server.base_url, None, remembered=dict(remembered), on_plan=told.__setitem__)
            await judge.ask(a_question())
            await judge.close()
            await asyncio.get_running_loop().shutdown_default_executor()
            remembered.update({key: CapabilityPlan.loaded(plan.dumped()) for key, plan in told.items()})

    asyncio.run(run())
    return asked


def test_that_no_form_helps_is_remembered_by_other_processes() -> None:
    remembered: dict[str, CapabilityPlan] = {}
    prose = said("It passes, I think.")
    assert [asked_again(prose, remembered) for _ in range(3)] == [4, 1, 1]
    assert asked_again(said(GOOD), remembered) == 1
    assert not remembered["judge"].is_fruitless
    assert asked_again(knows("json_object", otherwise=completion("It passes.", tokens_out=9)), remembered) == 3


def test_a_small_body_that_unpacks_to_gigabytes_is_given_up_early() -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    assert len(bomb) < 200_000
    assert told(raw(bomb, content_encoding="gzip")) == ("tried again", 1)
