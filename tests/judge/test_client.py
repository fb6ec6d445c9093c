"""The judge client against a loopback server that answers as scripted, faults included."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.judge_questions import GOOD, SCHEMA, a_question
from worker.demo.judge.server import Answer, Answerer, JudgeServer, completion, refused
from worker.errors import JudgeError, JudgeRefusesUs, JudgeUnavailable, SettingsError, VerdictUnreadable
from worker.judge.client import ChatJudge
from worker.judge.http_client import ANSWER_LIMIT
from worker.records import Message, Question, Reply

KEY = "sk-Very_Secret.0123456789"


class Script:
    """Gives the answers one after the other, the last one for ever, and keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.asked.append(request)
        self.headers.append(headers)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def served(
    answer: Answerer, use: Callable[[ChatJudge, JudgeServer], Awaitable[Any]], *, key: str | None = KEY, **over: Any
) -> Any:
    """Runs `use` with a judge at a server that answers like this, in a loop of its own."""

    async def run() -> Any:
        async with JudgeServer(answer) as server:
            judge = ChatJudge(server.base_url, SecretStr(key) if key else None, **over)
            try:
                return await use(judge, server)
            finally:
                await judge.close()

    return asyncio.run(run())


def reply_to(*answers: Answer, question: Question | None = None, **over: Any) -> Reply:
    reply = served(Script(*answers), lambda judge, server: judge.ask(question or a_question()), **over)
    assert isinstance(reply, Reply)
    return reply


def error_of(*answers: Answer, **over: Any) -> JudgeError:
    with pytest.raises(JudgeError) as caught:
        reply_to(*answers, **over)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


# What comes back


def test_a_reply_carries_content_tokens_cost_and_how_it_came_about() -> None:
    # 400 characters in = 100 tokens, 18 characters out = 4 tokens; 100 * 0.01 + 4 * 0.1 = 1.4
    reply = reply_to(GOOD, price=lambda model, read, cached, written, tier: read * 0.01 + written * 0.1)
    assert reply.content == '{"verdict":"pass"}'
    assert reply.finish_reason == "stop"
    assert reply.refusal is None
    judging = reply.judging
    assert (judging.model_requested, judging.model_served, judging.fingerprint) == ("judge", "judge-2026", "simulated")
    assert (judging.input_tokens, judging.cached_tokens, judging.output_tokens) == (100, 0, 4)
    assert judging.cost_usd == pytest.approx(1.4)
    assert (judging.prompt_hash, judging.digest_version) == ("0123456789abcdef", "3")
    assert judging.params_effective == {"temperature": 0, "max_tokens": 1200, "response_format": "json_schema"}
    assert judging.latency_ms is not None
    assert judging.latency_ms > 0


def test_the_question_goes_out_as_a_strict_schema_with_key_and_name() -> None:
    script = Script(GOOD)
    served(script, lambda judge, server: judge.ask(a_question()), user_agent="spotcheck/9")
    assert script.asked == [
        {
            "model": "judge",
            "messages": [
                {"role": "system", "content": "You are a judge."},
                {"role": "user", "content": "Was it done?"},
            ],
            "stream": False,
            "temperature": 0,
            "max_tokens": 1200,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "task_completion", "strict": True, "schema": SCHEMA},
            },
        }
    ]
    assert script.headers[0]["authorization"] == f"Bearer {KEY}"
    assert script.headers[0]["user-agent"] == "spotcheck/9"
    assert not [name for name in script.headers[0] if name.startswith("x-stainless")]


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    script = Script(GOOD)
    served(script, lambda judge, server: judge.ask(a_question()), key=None)
    assert "authorization" not in script.headers[0]


def test_a_refusal_and_a_cut_answer_are_passed_through() -> None:
    refusal = reply_to(completion(None, refusal="I would rather not."))
    assert (refusal.content, refusal.refusal) == (None, "I would rather not.")
    cut = reply_to(completion('{"verd', finish_reason="length"))
    assert (cut.content, cut.finish_reason) == ('{"verd', "length")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, None),
        (7, None),
        ({"done": "yes"}, '{"done": "yes"}'),
        ([], None),
        ([{"type": "text", "text": "a"}, {"type": "image"}, "loose", {"type": "text", "text": "b"}], "ab"),
    ],
)
def test_content_of_any_type_is_read_or_none(content: object, expected: str | None) -> None:
    assert reply_to(completion(content, tokens_out=9)).content == expected


@pytest.mark.parametrize("choices", [[], [None], [{}], [{"message": None}], [{"message": 7, "finish_reason": 3}]])
def test_choices_without_a_message_and_without_a_count_are_a_failure_of_the_upstream(choices: list[Any]) -> None:
    error = error_of(Answer(body={"choices": choices}))
    assert isinstance(error, JudgeUnavailable)
    assert not error.is_for_all
    assert "no choice" in str(error) or "an empty answer for which no token was counted" in str(error)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, (None, None, None)),
        ("many", (None, None, None)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (None, None, None)),
        ({"prompt_tokens": "12", "completion_tokens": 1e3}, (12, None, 1000)),
        ({"prompt_tokens": "many", "completion_tokens": 0.5}, (None, None, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (None, None, None)),
        ({"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 40}, (12, None, 28)),
        ({"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 4}, (12, None, 3)),
        (
            {"prompt_tokens": 12, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 9}},
            (12, None, 12),
        ),
        ({"prompt_tokens": 12, "completion_tokens": 10**30 % 2**63}, (12, None, None)),
        ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": None}, (12, None, 3)),
        ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}}, (12, 8, 3)),
        ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 80}}, (92, None, 3)),
    ],
)
def test_nonsense_in_usage_is_unknown(usage: object, expected: tuple[int | None, ...]) -> None:
    judging = reply_to(Answer(body={**dict(_body(GOOD)), "usage": usage}), price=lambda *counts: 1.0).judging
    assert (judging.input_tokens, judging.cached_tokens, judging.output_tokens) == expected
    assert (judging.cost_usd is None) == (expected[0] is None or expected[2] is None)


def test_the_price_falls_back_to_the_model_that_served() -> None:
    reply = reply_to(GOOD, price=lambda model, *counts: 0.5 if model == "judge-2026" else None)
    assert reply.judging.cost_usd == 0.5
    assert reply_to(GOOD, price=lambda *counts: None).judging.cost_usd is None


def test_a_lone_surrogate_in_a_run_does_not_stop_the_question() -> None:
    script = Script(GOOD)
    question = a_question(messages=(Message("user", "half a \ud83d face"),))
    served(script, lambda judge, server: judge.ask(question))
    assert script.asked[0]["messages"][0]["content"] == "half a ? face"


# Errors


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_passing_trouble_is_unavailable(status: int) -> None:
    error = error_of(refused(status, "try later"))
    assert isinstance(error, JudgeUnavailable)
    assert str(error).endswith(f"answers {status}: try later")
    assert error.retry_after_s is None


def test_retry_after_is_read() -> None:
    error = error_of(refused(429, "slow down")._replace(headers={"Retry-After": "17"}))
    assert isinstance(error, JudgeUnavailable)
    assert error.retry_after_s == 17


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refused(401, f"Incorrect API key provided: {KEY}"), "check OPENAI_API_KEY"),
        (refused(403, "not for you"), "check OPENAI_API_KEY"),
        (refused(400, "API key not valid. Please pass a valid API key."), "check OPENAI_API_KEY"),
        (refused(402, "Insufficient Balance"), "no quota left"),
        (refused(429, "You exceeded your current quota", code="insufficient_quota"), "no quota left"),
        (refused(404, "The model `judge` does not exist", code="model_not_found"), "SPOTCHECK_JUDGE_MODEL"),
        (refused(400, "invalid model ID", param="model"), "SPOTCHECK_JUDGE_MODEL"),
        (refused(400, "The model `judge` has been decommissioned", code="model_decommissioned"), "MODEL"),
        (Answer(405, body=b"Method Not Allowed"), "check OPENAI_BASE_URL"),
        (Answer(302, headers={"Location": "http://127.0.0.1:9/"}), "check OPENAI_BASE_URL"),
    ],
)
def test_what_only_a_person_can_mend_refuses_us(answer: Answer, says: str) -> None:
    error = error_of(answer)
    assert isinstance(error, JudgeRefusesUs)
    assert says in str(error)
    assert "127.0.0.1" in str(error)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            refused(400, "This model's maximum context length is 4096 tokens", code="context_length_exceeded"),
            "too_long",
        ),
        (refused(400, "the request exceeds the available context size", code="exceed_context_size_error"), "too_long"),
        (refused(413, "Payload too large"), "too_long"),
        (refused(429, "Request too large for judge on tokens per min (TPM): Limit 30000, Requested 40000"), "too_long"),
        (refused(400, "The response was filtered", code="content_filter"), "content_filter"),
        (refused(400, "It triggered Azure OpenAI's content management policy"), "content_filter"),
        (refused(400, "x" * 5000), "bad_request"),
        (refused(422, "no"), "bad_request"),
        (refused(418, "I am a teapot"), "bad_request"),
    ],
)
def test_a_question_that_can_never_be_answered_says_why(answer: Answer, reason: str) -> None:
    error = error_of(answer)
    assert isinstance(error, VerdictUnreadable)
    assert error.reason == reason
    assert len(str(error)) < 400


def test_a_server_that_is_not_there_is_unavailable() -> None:
    judge = ChatJudge("http://127.0.0.1:1/v1", SecretStr(KEY))

    async def ask() -> None:
        try:
            await judge.ask(a_question())
        finally:
            await judge.close()

    with pytest.raises(JudgeUnavailable, match=r"127\.0\.0\.1:1/v1 gave no usable answer: .*[Cc]onnect"):
        asyncio.run(ask())


def test_silence_ends_in_a_timeout() -> None:
    error = error_of(GOOD._replace(delay_s=60), timeout_s=0.2)
    assert isinstance(error, JudgeUnavailable)
    assert "no answer within 0.2 s" in str(error)


def test_an_answer_that_drips_for_ever_ends_in_a_timeout() -> None:
    assert "no answer within 0.3 s" in str(error_of(Answer(body=b" ", endless_every_s=0.02), timeout_s=0.3))


@pytest.mark.parametrize("status", [200, 500])
def test_an_endless_answer_is_cut_at_the_limit(status: int) -> None:
    error = error_of(Answer(status, body=b" " * 65536, endless_every_s=0))
    assert isinstance(error, JudgeUnavailable)
    assert f"longer than {ANSWER_LIMIT} bytes" in str(error)


def test_half_a_body_is_unavailable() -> None:
    error = error_of(GOOD._replace(cut=True))
    assert isinstance(error, JudgeUnavailable)
    assert "Not enough data" in str(error)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "not JSON"),
        (b'{"choices": [{"mess', "not JSON"),
        (b"[1]", "no chat completion"),
        (b'{"status": "ok"}', "no chat completion"),
        (b'{"choices": {"0": 1}}', "no chat completion"),
    ],
)
def test_a_200_that_is_no_completion_is_unavailable(body: bytes, what: str) -> None:
    error = error_of(Answer(body=body))
    assert isinstance(error, JudgeUnavailable)
    assert what in str(error)


PAGE = Answer(body=b"<html><body>Welcome\nto nginx</body></html>", headers={"Content-Type": "text/html"})


def test_a_web_page_is_a_wrong_address_and_told_with_its_beginning() -> None:
    error = error_of(PAGE)
    assert isinstance(error, JudgeRefusesUs)
    assert "not JSON: '<html><body>Welcome to nginx</body></html>'; check OPENAI_BASE_URL" in str(error)


def test_a_web_page_from_a_judge_that_answered_before_is_passing_trouble() -> None:
    async def use(judge: ChatJudge, server: JudgeServer) -> None:
        await judge.ask(a_question())
        with pytest.raises(JudgeUnavailable) as caught:
            await judge.ask(a_question())
        assert not caught.value.is_for_all

    served(Script(GOOD, PAGE), use)


@pytest.mark.parametrize(
    "answer", [refused(500, "no"), refused(429, "slow down"), Answer(body=b""), GOOD._replace(cut=True)]
)
def test_trouble_before_the_first_answer_is_everybodys(answer: Answer) -> None:
    error = error_of(answer)
    assert isinstance(error, JudgeUnavailable)
    assert error.is_for_all


@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", b"\x1f\x8b"), ("gzip", b"plain"), ("br", b"x"), ("zstd", b"x")]
)
def test_a_compressed_answer_that_cannot_be_unpacked_is_none(encoding: str, body: bytes) -> None:
    error = error_of(Answer(body=body, headers={"Content-Encoding": encoding}))
    assert isinstance(error, JudgeUnavailable)
    assert "compressed" in str(error)


def test_a_gateways_error_inside_a_200_is_read_as_that_error() -> None:
    limited = error_of(Answer(body={"error": {"message": "Rate limited upstream", "code": 429}}))
    assert isinstance(limited, JudgeUnavailable)
    assert "answers 429: Rate limited upstream" in str(limited)
    assert isinstance(error_of(Answer(body={"error": {"message": "no", "code": 401}})), JudgeRefusesUs)
    assert isinstance(error_of(Answer(body={"error": "who knows"})), JudgeUnavailable)


def test_an_answer_that_is_not_http_is_unavailable() -> None:
    async def run() -> None:
        async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"220 smtp.example.org ESMTP\r\n\r\n")
            writer.close()
            await writer.wait_closed()

        listener = await asyncio.start_server(gibberish, "127.0.0.1", 0)
        judge = ChatJudge(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1", None)
        try:
            await judge.ask(a_question())
        finally:
            await judge.close()
            listener.close()
            await listener.wait_closed()

    with pytest.raises(JudgeUnavailable):
        asyncio.run(run())


# Secrets


def test_the_key_is_in_no_error_repr_or_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echoes = [
        refused(status, f"you sent Authorization: Bearer {KEY} in {{{KEY}}}")
        for status in (400, 401, 403, 404, 418, 429, 500)
    ]
    for answer in [
        *echoes,
        Answer(body=f"<p>{KEY}</p>".encode()),
        Answer(body={"error": {"message": KEY, "code": 404}}),
    ]:
        error_of(answer)
    reply_to(GOOD)
    assert KEY not in caplog.text
    assert KEY not in repr(ChatJudge("http://127.0.0.1:1/v1?key=abc", SecretStr(KEY)))
    assert repr(ChatJudge(None, SecretStr(KEY))) == "ChatJudge('the default address')"


def test_another_key_than_ours_is_blanked_too() -> None:
    assert "sk-proj" not in str(error_of(refused(500, "upstream refused sk-proj-abc***xyz")))


@pytest.mark.parametrize("key", ["sk-\u2026copied", "sk-two words", "sk-line\nbreak"])
def test_a_key_that_no_header_can_carry_is_a_wrong_setting(key: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY") as caught:
        ChatJudge(None, SecretStr(key))
    assert key not in str(caught.value)


def test_the_line_break_of_a_secrets_file_does_no_harm() -> None:
    assert reply_to(GOOD, key=KEY + "\n").content is not None


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://127.0.0.1/v1", "http://", "http://user:secret@127.0.0.1/v1"]
)
def test_an_address_that_is_no_plain_url_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="judge's address") as caught:
        ChatJudge(url, None)
    assert "secret" not in str(caught.value)


# Loops and concurrency


def test_two_loops_one_after_the_other_each_have_their_judge() -> None:
    with JudgeServer(lambda request, headers: GOOD) as server:
        for _ in range(2):

            async def ask_twice(url: str = server.base_url) -> None:
                judge = ChatJudge(url, None)
                await judge.ask(a_question())
                await judge.ask(a_question())
                await judge.close()

            asyncio.run(ask_twice())
    assert server.requests.count == 4
    assert server.requests.connections == 2


def test_a_judge_that_was_closed_serves_another_loop_and_an_open_one_says_so() -> None:
    with JudgeServer(lambda request, headers: GOOD) as server:
        judge = ChatJudge(server.base_url, None)
        with asyncio.Runner() as first, asyncio.Runner() as second:
            first.run(judge.ask(a_question()))
            with pytest.raises(RuntimeError, match="one event loop"):
                second.run(judge.ask(a_question()))
            first.run(judge.close())
            second.run(judge.ask(a_question()))
            second.run(judge.close())
            second.run(judge.close())


def test_hundreds_of_questions_keep_within_the_concurrency() -> None:
    async def use(judge: ChatJudge, server: JudgeServer) -> JudgeServer:
        replies = await asyncio.gather(*(judge.ask(a_question(model=f"judge-{n % 7}")) for n in range(400)))
        assert all(reply.content == '{"verdict":"pass"}' for reply in replies)
        return server

    server = served(Script(GOOD._replace(delay_s=0.005)), use, concurrency=8)
    assert server.requests.count == 400
    assert server.requests.max_in_flight == 8
    assert server.requests.connections <= 8


def test_a_cancelled_question_frees_its_slot() -> None:
    async def use(judge: ChatJudge, server: JudgeServer) -> Reply:
        slow = asyncio.create_task(judge.ask(a_question()))
        while not server.requests.in_flight:
            await asyncio.sleep(0.01)  # until the call is under way
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return await judge.ask(a_question())

    script = Script(GOOD._replace(delay_s=60), GOOD)
    assert served(script, use, concurrency=1).content == '{"verdict":"pass"}'


def _body(answer: Answer) -> Iterator[tuple[str, Any]]:
    assert not isinstance(answer.body, bytes)
    yield from answer.body.items()


def test_the_schema_goes_out_whatever_kind_of_mapping_it_is() -> None:
    script = Script(GOOD)
    question = a_question(answer_schema=MappingProxyType(SCHEMA), params=MappingProxyType({"top_p": 0.5}))
    served(script, lambda judge, server: judge.ask(question))
    assert script.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA
