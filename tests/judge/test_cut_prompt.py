"""A prompt that the server cut is no verdict, and no prompt that it read whole is taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.judging.verdict_problem import PROMPT_CUT
from worker.judge.wire.cut_prompt import least_tokens, without_cut
from worker.records import Judging, Message, Reply

PROSE = "The ledger of the northern branch lists many small movements of goods and money in this week. " * 100
"""1,700 words, about 1,900 tokens."""


def reply(tokens: int | None, cached: int | None = None) -> Reply:
    judging = Judging(model_requested="m", input_tokens=tokens, cached_tokens=cached)
    return Reply(content="{}", finish_reason="stop", judging=judging)


def is_cut(tokens: int | None, text: str, cached: int | None = None) -> bool:
    return without_cut(reply(tokens, cached), [Message("user", text)]).finish_reason == PROMPT_CUT


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (PROSE, 1_024),
        (PROSE * 3, 2_050),
        (PROSE * 3, 4_096 - 1_200),
        (json.dumps([{"step": number, "result": "no such order"} for number in range(1_000)]), 2_048),
    ],
)
def test_a_window_that_the_prompt_does_not_fit_is_seen(text: str, tokens: int) -> None:
    assert is_cut(tokens, text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (PROSE, 1_800),  # by a tokenizer with every word in its vocabulary
        (PROSE, 1_300),
        (PROSE[:2_000], 210),
        ("注文の返金が完了しました。" * 500, 2_500),
        (" " * 50_000 + PROSE, 1_900),
        ("A" * 20_000, 2_500),
        ("\n".join(["--------------------"] * 1_000), 1_000),
    ],
)
def test_whole_prompts_are_left(text: str, tokens: int) -> None:
    assert not is_cut(tokens, text)


def test_who_counts_nothing_or_nonsense_or_cached_tokens_apart_is_left() -> None:
    assert not is_cut(None, PROSE)
    assert not is_cut(1, PROSE)
    assert not is_cut(120, PROSE)
    assert not is_cut(300, PROSE, cached=1_500)
    assert is_cut(300, PROSE, cached=None)


@given(st.lists(st.text(alphabet="abcXYZ0123 .,:'\"{}\n\u00e9\u4e2d", max_size=200), max_size=5))
def test_a_token_for_each_character_is_never_too_few(texts: list[str]) -> None:
    messages = [Message("user", text) for text in texts]
    assert least_tokens(messages) <= sum(map(len, texts))
