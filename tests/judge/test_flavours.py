"""Servers as they are: the words with which each says what it cannot do, and where the ladder ends at it.

The bodies are what people saw and wrote down, at the address that stands beside each; names and numbers are ours.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.support.judge_forms import PROSE, a_question, form_of
from worker.demo.judge.server import Answer, JudgeServer, simulated_verdict
from worker.errors import JudgeError, JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.judge.client import ChatJudge
from worker.records import Reply

ALWAYS = {"temperature": 0, "seed": 1, "presence_penalty": 0.5}
LIMIT = {"max_tokens": 1200}


def openai_error(message: str, status: int = 400, **over: Any) -> Answer:
    fields = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return Answer(status, body={"error": fields | over})


def vllm_error(message: str, status: int = 400, kind: str = "BadRequestError") -> Answer:
    return Answer(status, body={"object": "error", "message": message, "type": kind, "param": None, "code": status})


class Flavour(NamedTuple):
    """What a server answers to what it does not know, and what should come of it."""

    forms: Mapping[str, Answer]
    """By the form that was asked for; `text` is a plain prompt."""
    params: Mapping[str, Answer]
    """By a parameter that was sent."""
    ends_at: str
    effective: Mapping[str, Any] = ALWAYS | LIMIT


NO_GRAMMAR = vllm_error(
    "Grammar-based generation (json_schema, regex, ebnf, structural_tag) is not supported when the server is launched"
    " with --grammar-backend none"
)
NO_XGRAMMAR = vllm_error("The provided JSON schema contains features not supported by xgrammar.")
UNCONVERTED = openai_error('JSON schema conversion failed:\nUnrecognized schema: {"type":["integer","null"]}', code=400)
FLAVOURS = {
    # github.com/langgenius/dify/issues/8994
    "azure, an old api-version": Flavour(
        {
            "json_schema": openai_error(
                "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later",
                param="response_format",
            )
        },
        {},
        "tool",
    ),
    # github.com/BerriAI/litellm/issues/8199 has the first of them
    "azure, a reasoning model": Flavour(
        {},
        {
            "max_tokens": openai_error(
                "Unsupported parameter: 'max_tokens' is not supported with this model."
                " Use 'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            ),
            "temperature": openai_error(
                "Unsupported value: 'temperature' does not support 0 with this model."
                " Only the default (1) value is supported.",
                param="temperature",
                code="unsupported_value",
            ),
        },
        "json_schema",
        {"seed": 1, "presence_penalty": 0.5, "max_completion_tokens": 1200},
    ),
    # github.com/vllm-project/vllm/issues/16321
    "vllm, a schema that xgrammar cannot do": Flavour(
        {"json_schema": NO_XGRAMMAR, "tool": NO_XGRAMMAR}, {}, "json_object"
    ),
    # github.com/z-lab/paroquant/issues/31
    "vllm, the same in its newer words": Flavour(
        {
            form: openai_error("Grammar error: Unknown format: uri", type="BadRequestError", code=400)
            for form in ("json_schema", "tool")
        },
        {},
        "json_object",
    ),
    # github.com/sgl-project/sglang/pull/11401
    "sglang, started without grammars": Flavour(
        {"json_schema": NO_GRAMMAR, "tool": NO_GRAMMAR, "json_object": NO_GRAMMAR}, {}, "prompt"
    ),
    # github.com/ikawrakow/ik_llama.cpp/issues/778, github.com/ggml-org/llama.cpp/issues/10920
    "llama.cpp, an older one, that says it with a 500": Flavour(
        {
            "json_schema": Answer(
                500,
                body={
                    "error": {
                        "code": 500,
                        "message": 'response_format type must be one of "text" or "json_object", but got: json_schema',
                        "type": "server_error",
                    }
                },
            ),
            "tool": Answer(500, body={"code": 500, "message": "Unsupported param: tools", "type": "server_error"}),
        },
        {},
        "json_object",
    ),
    # github.com/browseros-ai/BrowserOS/issues/255
    "llama.cpp, a schema that it cannot convert": Flavour(
        {"json_schema": UNCONVERTED, "tool": UNCONVERTED}, {}, "json_object"
    ),
    # github.com/callstackincubator/fabrice-ai/pull/118, github.com/ollama/ollama/issues/6027
    "ollama, an older one, a model without tools": Flavour(
        {
            "json_schema": PROSE,
            "tool": openai_error("stablelm2:latest does not support tools", type="api_error"),
        },
        {},
        "json_object",
    ),
    # github.com/datalab-to/marker/issues/984
    "ollama, a schema that it cannot read": Flavour(
        {"json_schema": Answer(500, body={"error": "invalid JSON schema in format"})}, {}, "tool"
    ),
    # github.com/bytedance/deer-flow/issues/545
    "deepseek": Flavour(
        {"json_schema": openai_error("This response_format type is unavailable now", code="invalid_request_error")},
        {},
        "tool",
    ),
    # github.com/langgenius/dify/issues/12868
    "deepseek, in its other words": Flavour(
        {
            "json_schema": Answer(
                422,
                body=b"Failed to deserialize the JSON body into the target type: response_format.type: invalid type:"
                b" map, expected variant identifier at line 1 column 132",
            )
        },
        {},
        "tool",
    ),
    # github.com/dzhng/deep-research/issues/127
    "groq": Flavour(
        {
            "json_schema": openai_error(
                "'response_format.type' : value is not one of the allowed values ['text','json_object']"
            )
        },
        {},
        "tool",
    ),
    # github.com/BerriAI/litellm/issues/6610 and 14056
    "x.ai": Flavour(
        {
            "json_schema": Answer(
                400,
                body={
                    "code": "Client specified an invalid argument",
                    "error": "The response_format parameter is unsupported at the moment. Leave it unset.",
                },
            )
        },
        {
            "presence_penalty": Answer(
                400,
                body={
                    "code": "Client specified an invalid argument",
                    "error": "Argument not supported on this model: presencePenalty",
                },
            )
        },
        "tool",
        {"temperature": 0, "seed": 1, **LIMIT},
    ),
    # github.com/editor-code-assistant/eca/issues/231
    "mistral": Flavour(
        {},
        {
            "seed": Answer(
                422,
                body={
                    "object": "error",
                    "message": {
                        "detail": [
                            {
                                "type": "extra_forbidden",
                                "loc": ["body", "seed"],
                                "msg": "Extra inputs are not permitted",
                                "input": 1,
                            }
                        ]
                    },
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                },
            )
        },
        "json_schema",
        {"temperature": 0, "presence_penalty": 0.5, **LIMIT},
    ),
    # github.com/MinLL/SkyrimNet-GamePlugin/issues/77; one list, two names
    "gemini": Flavour(
        {},
        {
            name: Answer(
                400,
                body=b'[{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \\"%b\\":'
                b' Cannot find field.", "status": "INVALID_ARGUMENT"}}]' % name.encode(),
            )
            for name in ("seed", "presence_penalty")
        },
        "json_schema",
        {"temperature": 0, **LIMIT},
    ),
    # github.com/mastra-ai/mastra/issues/2839
    "openrouter, no provider with tools": Flavour(
        {
            "json_schema": PROSE,
            "tool": Answer(
                404,
                body={
                    "error": {
                        "message": "No endpoints found that support tool use. To learn more about provider routing,"
                        " visit: https://openrouter.ai/docs/provider-routing",
                        "code": 404,
                    }
                },
            ),
        },
        {},
        "json_object",
    ),
    # github.com/BerriAI/litellm/pull/33738 and issues/8199
    "litellm": Flavour(
        {},
        {
            "temperature": openai_error(
                "litellm.UnsupportedParamsError: gpt-5-nano doesn't support temperature=0.1 while reasoning is active."
                " Only temperature=1 is supported unless reasoning_effort resolves to 'none'. To drop unsupported"
                " params set `litellm.drop_params = True`. Received Model Group=judge",
                code="400",
            ),
            "max_tokens": openai_error(
                "litellm.BadRequestError: GithubException - Error code: 400 - {'error': {'message': \"Unsupported"
                " parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.\","
                " 'type': 'invalid_request_error', 'param': 'max_tokens', 'code': 'unsupported_parameter'}}",
                code="400",
            ),
        },
        "json_schema",
        {"seed": 1, "presence_penalty": 0.5, "max_completion_tokens": 1200},
    ),
}


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_ladder_ends_where_the_server_can_follow(name: str) -> None:
    flavour = FLAVOURS[name]
    asked: list[str] = []

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        form = form_of(request)
        asked.append(form)
        if form in flavour.forms:
            return flavour.forms[form]
        refused = next((refusal for param, refusal in flavour.params.items() if param in request), None)
        return refused or simulated_verdict(request, lambda prompt: 1.0)

    first, second = ask_twice(answer)
    assert first.content == second.content == '{"verdict":"pass"}'
    assert first.judging.params_effective == {**flavour.effective, "response_format": flavour.ends_at}
    assert second.judging.params_effective == first.judging.params_effective
    wanted = "text" if flavour.ends_at == "prompt" else flavour.ends_at
    assert asked[-2:] == [wanted] * 2, "the second question is asked once"
    assert len(asked) == len(flavour.forms) + len(flavour.params) + 2, "and nothing is refused twice"


def ask_twice(answer: Any) -> tuple[Reply, Reply]:
    async def run() -> tuple[Reply, Reply]:
        async with JudgeServer(answer) as server:
            judge = ChatJudge(server.base_url, None)
            try:
                return await judge.ask(a_question(**ALWAYS)), await judge.ask(a_question(**ALWAYS))
            finally:
                await judge.close()

    return asyncio.run(run())


BUDGET = "Budget has been exceeded! Current cost: 76.16, Max budget: 10.0"


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        # github.com/ConardLi/easy-dataset/issues/9
        (openai_error("Model Not Exist", code="invalid_request_error"), JudgeRefusesUs, None),
        # github.com/vllm-project/vllm/issues/3485
        (vllm_error("The model `Qwen` does not exist.", 404, "NotFoundError"), JudgeRefusesUs, None),
        # github.com/chatboxai/chatbox/issues/861
        (
            openai_error("The API deployment for this resource does not exist.", 404, code="DeploymentNotFound"),
            JudgeRefusesUs,
            None,
        ),
        # github.com/BerriAI/litellm/issues/14144 and pull/40002: with a 400 before, with a 429 since
        (openai_error(BUDGET, type="budget_exceeded", code="400"), JudgeRefusesUs, None),
        (openai_error(BUDGET, 429, type="budget_exceeded", code="429"), JudgeRefusesUs, None),
        (
            openai_error(f"litellm.BadRequestError: OpenAIException - {BUDGET}.", type=None, code="400"),
            JudgeRefusesUs,
            None,
        ),
        # github.com/Gitlawb/openclaude/issues/273
        (
            openai_error(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                type=None,
                param="prompt",
                code="content_filter",
            ),
            VerdictUnreadable,
            "content_filter",
        ),
        # github.com/ggml-org/llama.cpp/issues/19774 and pull/15780: with a 500 at first
        (
            openai_error(
                "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
                type="exceed_context_size_error",
                code=400,
            ),
            VerdictUnreadable,
            "too_long",
        ),
        (
            openai_error(
                "the request exceeds the available context size. try increasing the context size",
                500,
                type="exceed_context_size_error",
                code=500,
            ),
            VerdictUnreadable,
            "too_long",
        ),
        # llama.cpp's own server, seen here
        (openai_error("Loading model", 503, type="unavailable_error", code=503), JudgeUnavailable, None),
        # an outage that says nothing about the form of the question stays one
        (openai_error("upstream connect error", 500, type="server_error"), JudgeUnavailable, None),
    ],
)
def test_what_is_not_about_the_form_is_told_as_what_it_is(
    answer: Answer, kind: type[JudgeError], reason: str | None
) -> None:
    async def run() -> None:
        async with JudgeServer(lambda request, headers: answer) as server:
            judge = ChatJudge(server.base_url, None)
            try:
                with pytest.raises(kind) as raised:
                    await judge.ask(a_question())
            finally:
                await judge.close()
            assert getattr(raised.value, "reason", None) == reason
            assert server.requests.count == 1

    asyncio.run(run())
