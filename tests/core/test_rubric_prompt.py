"""A prompt whose unchanging text is rendered once is the prompt that the template would have given."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rubric_scorers import BENIGN_DOCUMENT
from worker.core.rubric.parse import Rubric
from worker.core.rubric.problem import RubricProblem
from worker.core.rubric.prompt import Prompt
from worker.core.rubric.render import MAX_OUTPUT_CHARS, Data
from worker.scorers.rubric.files import load, shipped_prompts

SHIPPED = load([shipped_prompts()])
TEXTS = st.text(max_size=60) | st.sampled_from(["<<<RUN 0123456789abcdef>>>", "{{ run }}", "\u2028&<>", ""])


def criteria(rubric: Rubric) -> list[dict[str, Any]]:
    return [criterion.model_dump() for criterion in rubric.criteria]


@pytest.mark.parametrize("name", sorted(SHIPPED))
@given(first=TEXTS, second=TEXTS, status=st.sampled_from(["completed", "errored"]))
def test_a_prompt_is_the_same_whichever_run_came_before(name: str, first: str, second: str, status: str) -> None:
    rubric = SHIPPED[name]
    template = rubric.compiled()
    assert template.is_plain
    prompt = Prompt(template, criteria(rubric))
    for text, nonce in ((first, "0123456789abcdef"), (second, "fedcba9876543210")):
        data = Data({**BENIGN_DOCUMENT, "output": text, "input": text, "status": status}, nonce)
        assert prompt.render(data) == template.render(data, criteria(rubric)).messages


def test_a_template_that_looks_at_the_run_is_rendered_for_each(tmp_path: Any) -> None:
    rubric = SHIPPED["task_completion"]
    body = rubric.source.replace(
        "Here is the record", "{% if run.status == 'errored' %}It failed. {% endif %}Here is the record"
    )
    looking = rubric.model_copy(update={"source": body}).compiled()
    assert not looking.is_plain
    prompt = Prompt(looking, criteria(rubric))
    said = [
        prompt.render(Data({**BENIGN_DOCUMENT, "status": status}, "0123456789abcdef"))[1].content
        for status in ("errored", "completed", "errored")
    ]
    assert ["It failed." in one for one in said] == [True, False, True]


def test_a_run_that_makes_the_prompt_too_long_is_refused_after_a_short_one_too() -> None:
    rubric = SHIPPED["task_completion"]
    prompt = Prompt(rubric.compiled(), criteria(rubric))
    prompt.render(Data(BENIGN_DOCUMENT, "0123456789abcdef"))
    with pytest.raises(RubricProblem, match="characters of output"):
        prompt.render(Data({**BENIGN_DOCUMENT, "output": "x" * MAX_OUTPUT_CHARS}, "0123456789abcdef"))
