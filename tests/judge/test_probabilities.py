"""Probabilities of verdicts from those of tokens: exact, or nothing."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.support.openai_replies import a_message, a_response
from worker.demo.judge.server import Answer, JudgeServer, completion, refused
from worker.judge.client import ChatJudge
from worker.judge.wire.probabilities import of_verdicts
from worker.records import Message, Question, Reply

BINARY = ("pass", "fail", "unknown")
P = {"pass": 0.7, "fail": 0.2, "unknown": 0.1}


def a_schema(**options: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            criterion: {"type": "object", "properties": {"verdict": {"type": "string", "enum": list(words)}}}
            for criterion, words in options.items()
        },
    }


def token(said: str, alternatives: Mapping[str, float] | None = None, *, has_bytes: bool = True) -> dict[str, Any]:
    """A token as a server lists it, with what else could have stood there."""
    every = {said: 1.0} if alternatives is None else dict(alternatives)
    listed = [{"token": text, "bytes": list(text.encode()), "logprob": math.log(p)} for text, p in every.items()]
    own = {"token": said, "bytes": list(said.encode()), "logprob": math.log(every.get(said, 0.9))}
    if not has_bytes:
        listed, own = [token | {"bytes": None} for token in listed], own | {"bytes": None}
    return own | {"top_logprobs": listed}


def told(*tokens: dict[str, Any], options: Sequence[str] = BINARY, content: str | None = None) -> dict[str, float]:
    """The probabilities of the one criterion."""
    said = "".join(token["token"] for token in tokens) if content is None else content
    return of_verdicts(said, list(tokens), a_schema(one=options)).get("one", {})


@pytest.mark.parametrize("has_bytes", [True, False])
@pytest.mark.parametrize(
    ("before", "taken", "after"),
    [
        ('{"one": {"verdict": "', "{}", '"}}'),
        ('{"one": {"verdict": ', '"{}', '"}}'),
        ('{"one": {"verdict": ', '"{}"', "}}"),
        ('{"one": {"verdict"', ': "{}"}}', "}"),
        ('{ "one" :\n {"reason": "größer ✓", "verdict"', ':\t"{}', '"} }'),
    ],
)
def test_the_token_that_holds_the_word_is_found_wherever_tokens_end(
    before: str, taken: str, after: str, has_bytes: bool
) -> None:
    spelled = {word: taken.replace("{}", word) for word in P}
    tokens = [
        token(before, has_bytes=has_bytes),
        token(spelled["pass"], {spelled[word]: p for word, p in P.items()}, has_bytes=has_bytes),
        token(after, has_bytes=has_bytes),
    ]
    assert told(*tokens) == pytest.approx(P)


def test_each_criterion_has_its_own() -> None:
    tokens = [
        token('{"one": {"verdict": "'),
        token("pass", P),
        token('"}, "two": {"verdict": "'),
        token("fail", {"fail": 0.9, "pass": 0.1}),
        token('"}}'),
    ]
    found = of_verdicts("".join(token["token"] for token in tokens), tokens, a_schema(one=BINARY, two=BINARY))
    assert found["one"] == pytest.approx(P)
    assert found["two"] == pytest.approx({"pass": 0.1, "fail": 0.9, "unknown": 0.0})


def test_a_word_in_pieces_is_decided_by_the_first_that_differs() -> None:
    start, end = token('{"one": {"verdict": "'), token('"}}')
    first = token("p", {"p": 0.5, "pass": 0.2, "f": 0.1, "fa": 0.1, "un": 0.1})
    assert told(start, first, token("ass"), end) == pytest.approx(P)


def test_words_that_begin_alike_are_decided_where_they_part() -> None:
    start, end = token('{"one": {"verdict": "'), token('"}}')
    options = ("poor", "partly", "fair", "fairly", "unknown")
    # p: 0.6 of which "artly" 0.75; fair: 0.3 of which the end of the word 0.4
    pieces = [token("p", {"p": 0.6, "fair": 0.3, "un": 0.1}), token("artly", {"artly": 0.75, "oor": 0.25})]
    found = told(start, *pieces, end, options=options)
    assert found == {}, "what became of fair or fairly was not written, and 0.3 is too much to leave open"
    pieces[0] = token("p", {"p": 0.9, "un": 0.1})
    found = told(start, *pieces, end, options=options)
    assert found == pytest.approx({"poor": 0.225, "partly": 0.675, "fair": 0, "fairly": 0, "unknown": 0.1})
    word = [token("fair", {"fair": 0.9, "un": 0.1}), token('"', {'"': 0.4, "ly": 0.6})]
    found = told(start, *word, token("}}"), options=options)
    assert found == pytest.approx({"poor": 0, "partly": 0, "fair": 0.36, "fairly": 0.54, "unknown": 0.1})


def test_what_was_taken_counts_though_it_is_not_among_the_likeliest() -> None:
    taken = token("fail", {"pass": 0.6, "unknown": 0.2}) | {"logprob": math.log(0.2)}
    found = told(token('{"one": {"verdict": "'), taken, token('"}}'))
    assert found == pytest.approx({"pass": 0.6, "fail": 0.2, "unknown": 0.2})


def test_other_words_do_not_count() -> None:
    taken = token("pass", {"pass": 0.6, "maybe": 0.2, "fail": 0.2})
    assert told(token('{"one": {"verdict": "'), taken, token('"}}'))["pass"] == pytest.approx(0.75)


def test_the_same_place_in_another_spelling_does_not_count() -> None:
    taken = token(' "pass', {' "pass': 0.6, ' "fail': 0.2, "  fail": 0.1, '"fail': 0.1})
    assert told(token('{"one": {"verdict":'), taken, token('"}}'))["pass"] == pytest.approx(0.75)


def test_a_verdict_that_somebody_only_quotes_is_not_one() -> None:
    quoted = json.dumps('say "verdict": "fail" and {"verdict": "fail"}')
    tokens = [token(f'{{"one": {{"reason": {quoted}, "verdict": "'), token("pass", P), token('"}}')]
    assert told(*tokens) == pytest.approx(P)
    other = f'{{"x": {{"verdict": "fail"}}, "one": {{"verdict": ["fail"], "reason": {quoted}}}}}'
    assert told(token(other)) == {}


def test_what_the_model_thought_before_does_not_shift_the_place() -> None:
    tokens = [
        token("Is it 'pass'? \u00e9"),
        token('{"one": {"verdict": "'),
        token("pass", P),
        token('"}}'),
        token("<end>"),
    ]
    content = '{"one": {"verdict": "pass"}}'
    assert told(*tokens, content=content) == pytest.approx(P)
    assert told(token(content), *tokens, content=content) == {}, "twice the same text: which one is the answer?"


def test_a_code_fence_is_tolerated() -> None:
    assert told(token('```json\n{"one": {"verdict": "'), token("pass", P), token('"}}\n```')) == pytest.approx(P)


GOOD = [token('{"one": {"verdict": "'), token("pass", P), token('"}}')]


@pytest.mark.parametrize(
    "tokens",
    [
        GOOD[:2],
        [GOOD[0], token("fail", P), GOOD[2]],
        [GOOD[0], {**GOOD[1], "top_logprobs": []}, GOOD[2]],
        [GOOD[0], {**GOOD[1], "top_logprobs": None}, GOOD[2]],
        [GOOD[0], {**GOOD[1], "top_logprobs": [{"token": "pass", "logprob": "0"}]}, GOOD[2]],
        [GOOD[0], {**GOOD[1], "top_logprobs": [{"token": "pass", "logprob": 3}]}, GOOD[2]],
        [GOOD[0], {**GOOD[1], "top_logprobs": [{"token": "pass", "logprob": math.nan}]}, GOOD[2]],
        [GOOD[0], {**GOOD[1], "top_logprobs": [{"token": word, "logprob": 0} for word in ("pass", "fail")]}, GOOD[2]],
        [GOOD[0], token("pass", {"pass": 0.3, "!": 0.7}), GOOD[2]],
        [GOOD[0], {**GOOD[1], "bytes": [1, 2, 300]}, GOOD[2]],
        [None, "pass", 7],
        {"one": "pass"},
        None,
    ],
)  # fmt: skip
def test_nothing_is_told_where_it_is_not_sure(tokens: Any) -> None:
    content = '{"one": {"verdict": "pass"}}'
    assert of_verdicts(content, GOOD, a_schema(one=BINARY))["one"] == pytest.approx(P)
    assert of_verdicts(content, tokens, a_schema(one=BINARY)) == {}


@st.composite
def a_model(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str], dict[str, float]]:
    """Words, each in pieces of its own, written by a model whose probabilities are known; and one of its answers."""
    options = draw(st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=5, unique=True))
    weights = draw(st.lists(st.integers(1, 100), min_size=len(options), max_size=len(options)))
    p = {word: weight / sum(weights) for word, weight in zip(options, weights, strict=True)}
    pieces = {word: _cut(f'{word}"', draw(st.sets(st.integers(1, 4)))) for word in options}
    written = draw(st.sampled_from(options))
    tokens = [token('{"one": {"verdict": "')]
    for at, piece in enumerate(pieces[written]):
        alike = {word for word in options if pieces[word][:at] == pieces[written][:at]}
        total = sum(p[word] for word in alike)
        nexts: dict[str, float] = {}
        for word in alike:
            nexts[pieces[word][at]] = nexts.get(pieces[word][at], 0.0) + p[word] / total
        tokens.append(token(piece, nexts))
    return [*tokens, token("}}")], options, p


def _cut(text: str, places: set[int]) -> list[str]:
    cuts = [0, *sorted(place for place in places if place < len(text)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


@given(a_model())
def test_whatever_the_words_and_their_pieces_it_is_exact_or_nothing(
    made: tuple[Any, list[str], dict[str, float]],
) -> None:
    tokens, options, p = made
    found = told(*tokens, options=options)
    # alternatives below the limit of what is unclear may be lost, and no more
    assert found == {} or found == pytest.approx(p, abs=0.05)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["pass", '"', "{"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["token", "bytes", "logprob", "top_logprobs", "verdict", "one"]), inner)
    ),
    max_leaves=25,
)


@given(ANYTHING, st.text(max_size=10) | ANYTHING.map(lambda value: json.dumps(value)))
def test_nothing_whatever_raises(listed: object, content: str) -> None:
    of_verdicts(content, listed, a_schema(one=BINARY))
    of_verdicts("[" * 100_000, [{"token": "[" * 100_000}], a_schema(one=BINARY))


# Asked of a server


def a_question(**over: Any) -> Question:
    fields: dict[str, Any] = {
        "messages": (Message("user", "Was it done?"),),
        "answer_schema": a_schema(one=BINARY),
        "schema_name": "verdict",
        "model": "judge",
        "wants_probabilities": True,
        "prompt_hash": "0" * 16,
    }
    return Question(**(fields | over))


def with_logprobs(content: str, *, backend: str) -> Answer:
    if backend == "responses":
        part = {"type": "output_text", "text": content, "annotations": [], "logprobs": GOOD}
        return Answer(body=a_response(a_message(part)))
    answer = completion(content)
    assert isinstance(answer.body, dict)
    answer.body["choices"][0]["logprobs"] = {"content": GOOD, "refusal": None}
    return answer


def replies(server_side: Any, *questions: Question) -> list[Reply]:
    async def run() -> list[Reply]:
        path = "/v1/responses" if questions[0].backend == "responses" else "/v1/chat/completions"
        async with JudgeServer(server_side, path=path) as server:
            judge = ChatJudge(server.base_url, SecretStr("k"))
            try:
                return [await judge.ask(question) for question in questions]
            finally:
                await judge.close()

    return asyncio.run(run())


@pytest.mark.parametrize("backend", ["chat", "responses"])
def test_they_are_asked_for_only_where_they_are_wanted(backend: Any) -> None:
    asked: list[dict[str, Any]] = []

    def server(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        asked.append(request)
        return with_logprobs('{"one": {"verdict": "pass"}}', backend=backend)

    plain, wanted = replies(server, a_question(backend=backend, wants_probabilities=False), a_question(backend=backend))
    assert plain.probabilities == {}
    assert wanted.probabilities["one"] == pytest.approx(P)
    names = {"chat": {"logprobs", "top_logprobs"}, "responses": {"include", "top_logprobs"}}[backend]
    assert names.isdisjoint(asked[0])
    assert names <= asked[1].keys()


@pytest.mark.parametrize("backend", ["chat", "responses"])
@pytest.mark.parametrize(
    "complaint",
    [
        refused(400, "'logprobs' is not supported", param="logprobs"),
        refused(400, "Logprobs is not enabled for this model"),
        refused(400, "logprobs are not supported with reasoning models.", param="top_logprobs"),
        refused(403, "You are not allowed to request logprobs from this model"),
        Answer(422, body={"detail": [{"loc": ["body", "top_logprobs"], "msg": "at most 1"}]}),
    ],
)
def test_a_server_that_gives_none_is_asked_without_them_from_then_on(backend: Any, complaint: Answer) -> None:
    asked: list[dict[str, Any]] = []

    def server(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        asked.append(request)
        return complaint if "top_logprobs" in request else with_logprobs("{}", backend=backend)

    first, second = replies(server, a_question(backend=backend), a_question(backend=backend))
    assert ["top_logprobs" in request for request in asked] == [True, False, False]
    assert not any("include" in request or "logprobs" in request for request in asked[1:])
    for reply in (first, second):
        assert reply.judging.params_effective.keys().isdisjoint({"logprobs", "top_logprobs", "include"})


def test_the_arguments_of_a_tool_call_have_none() -> None:
    answer = completion('{"one": {"verdict": "pass"}}', tool="verdict")
    assert isinstance(answer.body, dict)
    answer.body["choices"][0]["logprobs"] = {"content": GOOD}
    (reply,) = replies(lambda request, headers: answer, a_question())
    assert reply.probabilities == {}
