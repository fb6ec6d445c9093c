"""The lint: every code once, at the right line and column, and nothing on a clean file."""

import pytest

from worker.core.rubric.lint import FATAL, lint

PATH = "prompts/refund.rubric.md.j2"
CLEAN = """---
name: refund
version: 1.0.0
criteria:
  - id: polite
    question: Is the tone polite?
    pass_when: No sentence insults or blames the reader.
---
{% chat role="system" %}
{{ criteria[0].question }}
{% endchat %}
{% chat role="user" %}
{{ run | fenced }}
Decide now.
{% endchat %}
"""


def test_a_clean_rubric_has_no_findings() -> None:
    assert lint(CLEAN, PATH, {}) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "code", "said"),
    [
        ("Is the tone polite?", "Is the tone polite and short?", 6, 5, "double-barrelled", 'asks two things ("and")'),
        ("Is the tone polite?", "Is the tone good?", 6, 5, "vague", 'vague ("good")'),
        ("No sentence insults or blames the reader.", "It is fitting.", 7, 5, "vague", "less than 25"),
        ("No sentence insults or", "It is appropriate that nobody", 7, 5, "vague", 'vague ("appropriate")'),
        (
            "version: 1.0.0",
            "version: 1.0.0\njudge: {model: gpt-4o-mini}",
            4,
            16,
            "retired-model",
            "gpt-4o-mini is retired",
        ),
        ("{{ criteria[0]", "{{ run.id }} {{ criteria[0]", 10, 4, "unsafe-run-data", "safe filter"),
        (
            "{{ criteria[0]",
            "{% if run.steps %}x{% endif %}{{ criteria[0]",
            10,
            7,
            "static-prefix",
            "run.steps is read above",
        ),
        ("{{ run | f", "{% if run.error %}x{% endif %}{{ run | f", 13, 7, "static-prefix", "prompt cache saves little"),
        ("Decide now.", "", 13, 4, "no-reminder", "add a reminder"),
        ("Decide now.", "{{ run.final_output }}", 14, 8, "unknown-variable", "did you mean run.output?"),
        ('role="system"', 'role="assistant"', 1, 1, "no-system", "no system message"),
        ("    question", "    levels: []\n    qestion", 7, 5, "schema", "did you mean `question`?"),
        (
            "  - id: polite",
            "  - {id: polite, question: A, pass_when: b}\n  - id: polite",
            6,
            5,
            "duplicate-criterion",
            "twice",
        ),
        ("version: 1.0.0", "version: 1.0.0\nscale: ordinal", 6, 5, "missing-anchors", "3 to 5 `levels`"),
        ("Decide now.", "{% include 'x.md.j2' %}", 14, 1, "unknown-include", "not in the prompts folder"),
        ("Decide now.", "{% nonsense %}", 14, 1, "syntax", "nonsense"),
        (
            "version: 1.0.0",
            "version: 1.0.0\njudge: {params: {temperature: 0}, samples: 5}",
            4,
            18,
            "same-samples",
            "paid 5 times",
        ),
    ],
)
def test_each_fault_is_found_where_it_stands(old: str, new: str, line: int, column: int, code: str, said: str) -> None:
    assert old in CLEAN
    found = lint(CLEAN.replace(old, new), PATH, {})
    assert (PATH, line, column, code) in [finding[:4] for finding in found], found
    assert any(said in finding.message for finding in found if finding.code == code)


def test_run_data_in_a_static_prefix_is_found_in_an_include_too() -> None:
    text = CLEAN.replace("{{ criteria[0].question }}", '{% include "a.md.j2" %}')
    found = lint(text, PATH, {"a.md.j2": "\n{% if run.steps %}x{% endif %}"})
    assert [(finding.path, finding.line, finding.code) for finding in found] == [("a.md.j2", 2, "static-prefix")]


def test_both_a_wrong_front_matter_and_a_wrong_body_are_told() -> None:
    found = lint(CLEAN.replace("1.0.0", "one").replace("Decide now.", "Decide {{ run }}"), PATH, {})
    assert [finding.code for finding in found] == ["schema", "unsafe-run-data"]
    assert {finding.code for finding in found} <= FATAL


@pytest.mark.parametrize(
    "question", ["Is it between 3 and 5 lines?", "Does it name one or more sources?", "Is an order named?"]
)
def test_words_that_only_look_like_two_questions_pass(question: str) -> None:
    assert lint(CLEAN.replace("Is the tone polite?", question), PATH, {}) == []


@pytest.mark.parametrize(
    ("model", "old"),
    [
        ("gpt-4o", True),
        ("gpt-4.1-nano", True),
        ("o3-2025-04-16", True),
        ("gpt-5-mini", True),
        ("gpt-5", True),
        ("gpt-5.4-mini", False),
        ("gpt-6.1-sol", False),
        ("o3x-local", False),
        ("my-gpt-4o-like", False),
    ],
)
def test_retired_models_are_known_by_family(model: str, old: bool) -> None:
    found = lint(CLEAN.replace("version: 1.0.0", f"version: 1.0.0\njudge: {{model: {model}}}"), PATH, {})
    assert [finding.code for finding in found] == ["retired-model"] * old


@pytest.mark.parametrize(
    "judge", ["{params: {temperature: 0}}", "{params: {temperature: 0.7}, samples: 5}", "{samples: 5}"]
)
def test_one_sample_may_be_cold_and_several_warm(judge: str) -> None:
    assert lint(CLEAN.replace("version: 1.0.0", f"version: 1.0.0\njudge: {judge}"), PATH, {}) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1.0.0", "version: '1'", "`version`: must be three numbers such as 1.0.0, or 1.0.0-rc1; found '1'"),
        ("version: 1.0.0", "version: 1.0.0\nscale: stars", "`scale`: must be 'binary' or 'ordinal'; found 'stars'"),
        ("  - id: polite", "  - weight: 0\n    id: polite", "`criteria.0.weight`: must be above 0; found 0"),
        (
            "  - id: polite",
            "  - levels: [1, 2, 3]\n    id: polite",
            "`criteria.0.levels.0`: must be a mapping of keys to values; found 1",
        ),
        ("version: 1.0.0", "version: 1.0.0\nneeds: 3", "`needs`: must be a list; found 3"),
        ("version: 1.0.0", "version: 1.0.0\ntrace: {budget_tokens: x}", "must be a whole number; found 'x'"),
    ],
)
def test_a_wrong_value_is_explained_without_the_terms_of_a_validation_library(old: str, new: str, message: str) -> None:
    assert message in lint(CLEAN.replace(old, new, 1), PATH, {})[0].message


def test_too_many_criteria_are_counted() -> None:
    criteria = "".join(
        f'  - {{id: c{number}, question: "Is it?", pass_when: It is so in the run.}}\n' for number in range(63)
    )
    front, _, rest = CLEAN.partition("criteria:\n")
    text = f"{front}criteria:\n{criteria}---\n{rest.partition('---')[2].lstrip()}"
    assert [found.message for found in lint(text, PATH, {})] == [
        "`criteria`: may have at most 12 entries; found 63 entries"
    ]
