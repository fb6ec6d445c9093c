"""The rules that stand before a judge call name what is no answer, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.judging.precheck import answer_problem

TASK = "Please cancel my reservation EHGLP3 and tell me how much money I get back."


@pytest.mark.parametrize("output", [None, "", " \n\t ", "\u200b\u200b", "\u2800", "\u3164 \u3164"])
def test_what_the_eye_does_not_see_is_empty(output: str | None) -> None:
    assert answer_problem(TASK, output) == "empty"


@pytest.mark.parametrize("output", [".", ":", "...", " , ", "---", "```\n```", "**", "…", '""', "[ , ]"])
def test_punctuation_is_no_answer(output: str) -> None:
    assert answer_problem(TASK, output) == "punctuation only"


@pytest.mark.parametrize("output", ["[]", "{}", "[\n]", "7", "B", "∞", "👍", "<", "да", "東京", "-1", "$5"])
def test_a_short_answer_is_an_answer(output: str) -> None:
    assert answer_problem(TASK, output) is None


@pytest.mark.parametrize(
    "output",
    [
        "Thought process:",
        "Let me think",
        "Let's solve this problem step by step.",
        "Let’s think step by step…",
        "Solution",
        "**Solution:**",
        "The answer is",
        "So, the final answer is:",
        "Sure, here is",
        "Sure! Here's the summary you requested:",
        "Certainly! Let me look into that for you.",
        "Okay, I'll check that for you now. One moment please.",
        "To solve this problem, we need to find the answer first.",
        "Great question! I'd be happy to help you with that.",
        "Hi! How can I help you today?",
        "Assistant:",
        "解",
        "Respuesta:",
    ],
)
def test_an_opener_with_nothing_behind_it_is_no_answer(output: str) -> None:
    assert answer_problem(TASK, output) == "opener only"


@pytest.mark.parametrize(
    "output",
    [
        "Yes.",
        "OK.",
        "Certainly!",
        "Done.",
        "First",
        "The answer is 42.",
        "Here is the summary: nothing was refunded.",
        "Let me think: it is Tuesday.",
        "Sure, I cancelled it.",
        "I will cancel your reservation EHGLP3.",
        "Solution: x = 4",
        "Thoughtful",
        "Unable to determine",
        "I cannot help with that, since the fare is not refundable.",
    ],
)
def test_an_opener_with_something_behind_it_is_left_to_the_judge(output: str) -> None:
    assert answer_problem(TASK, output) is None


def test_an_offer_of_help_answers_a_greeting() -> None:
    assert answer_problem("hello there", "Hi! How can I help you today?") is None


@pytest.mark.parametrize(
    "output", ["TERMINATE", "terminate.", "TERMINATE\nTERMINATE", "<|endoftext|>", "[DONE]", "###STOP###", "</s>"]
)
def test_a_word_for_the_machine_is_no_answer(output: str) -> None:
    assert answer_problem(TASK, output) == "control word only"


def test_a_control_word_after_an_answer_does_no_harm() -> None:
    assert answer_problem(TASK, "You get 120 dollars back. TERMINATE") is None


@pytest.mark.parametrize(
    "output", ["<think>It is 4.</think>", "<thought>a</thought>\n<think>b</think> .", "<think>it is"]
)
def test_reasoning_without_an_answer_is_no_answer(output: str) -> None:
    assert answer_problem(TASK, output) == "reasoning only"


def test_what_follows_the_reasoning_is_the_answer() -> None:
    assert answer_problem(TASK, "<think>Let me think.</think>\n120 dollars") is None


@pytest.mark.parametrize(
    "output",
    [
        TASK,
        TASK.upper(),
        f'"{TASK}"',
        f"Question: {TASK}",
        TASK.replace(" ", "  ").replace(".", ""),
        TASK[:-4],
    ],
)
def test_the_task_itself_is_no_answer(output: str) -> None:
    assert answer_problem(TASK, output) == "echo of the task"


@pytest.mark.parametrize(
    ("task", "output"),
    [
        ("What is 2 + 2?", "What is 2 + 2? 4"),
        ("Good morning", "Good morning!"),
        ("Which is larger? A ) a hundred and one apples , B ) two", "A ) a hundred and one apples"),
        ("Fix the typos: the quick brown fox jumps over teh dog", "the quick brown fox jumps over the dog"),
        ("", "anything"),
    ],
)
def test_an_answer_that_shares_words_with_the_task_is_an_answer(task: str, output: str) -> None:
    assert answer_problem(task, output) is None


@given(st.text(), st.text())
def test_any_two_texts_get_a_verdict(task: str, output: str) -> None:
    problem = answer_problem(task, output)
    assert problem is None or problem == answer_problem(task, output)


@given(st.text())
def test_adding_a_sentence_that_answers_always_helps(output: str) -> None:
    assert answer_problem(TASK, f"You get 120 dollars back, since the fare was flexible. {output}") is None
