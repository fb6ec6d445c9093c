"""Reading a rubric file: what loads, what does not and where, and what its identity depends on."""

import pytest

from worker.core.rubric.parse import Rubric, RubricProblem, identity, parse

FRONT = """---
name: demo
version: 1.2.3
criteria:
  - id: done
    question: Is the thing done?
    pass_when: The thing is there at the end of the run.
pass: {threshold: 0.6, on: value}
---
"""
BODY = """{% chat role="system" %}
Look at {{ criteria[0].question }}
{% endchat %}
{% chat role="user" %}
{{ run | fenced }}
Decide now.
{% endchat %}
"""
PATH = "prompts/demo.rubric.md.j2"


def load(front: str = FRONT, body: str = BODY, **includes: str) -> Rubric:
    return parse(front + body, PATH, {name.replace("__", "/") + ".md.j2": text for name, text in includes.items()})


def test_defaults_are_binary_joint_and_completed_runs() -> None:
    rubric = load()
    assert (rubric.scale, rubric.mode, rubric.applies_to.statuses) == ("binary", "joint", ("completed",))
    assert rubric.needs == ("run.input", "run.output")
    assert rubric.criteria[0].options == {"pass": 1.0, "fail": 0.0}
    assert rubric.threshold == 0.6
    assert rubric.passing.on == "value"  # `on` is a word here, not YAML's true


def test_all_keys_of_the_specification_are_accepted() -> None:
    more = """description: d
owner: o
applies_to: {task_types: [a], statuses: [completed, errored], agents: ["*"]}
needs: [run.input, run.output, run.steps]
scale: binary
mode: per_criterion
aggregate: {method: weighted_mean, required_fail: fail, unknown: exclude}
judge: {backend: responses, model: m, params: {temperature: 0}, service_tier: flex, samples: 3,
  escalate: {when: [low_confidence, unknown], to: big, below: 0.9}}
trace: {budget_tokens: 6000, keep: [errors, writes, "last:3"]}
examples: {file: golden.jsonl, split: train, max: 3}
tests: {min_kappa: 0.6, max_asr: 0.05, min_labels: 50}
---
"""
    assert load(FRONT.removesuffix("---\n") + more).mode == "per_criterion"


def test_an_ordinal_scale_spreads_its_levels_evenly() -> None:
    levels = "".join(f"      - {{label: {name}, when: it is {name}}}\n" for name in ("poor", "fair", "fine"))
    front = FRONT.replace("pass: {", "scale: ordinal\npass: {").replace(
        "    pass_when: The thing is there at the end of the run.\n", f"    levels:\n{levels}"
    )
    assert load(front).criteria[0].options == {"poor": 0.0, "fair": 0.5, "fine": 1.0}


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("version: 1.2.3", "version: one", 3, "`version`"),
        ("version: 1.2.3", "verison: 1.2.3", 3, "did you mean `version`"),
        ("    question: Is the thing done?", "    queston: x", 6, "did you mean `question`"),
        ("  - id: done", "  - id: Done!", 5, "`criteria.0.id`"),
        ("pass: {threshold: 0.6, on: value}", "pass: {threshold: 6}", 8, "`pass.threshold`"),
        ("pass: {threshold: 0.6, on: value}", "scale: 0-100", 8, "`scale`"),
        ("pass: {threshold: 0.6, on: value}", "scale: ordinal", 5, "3 to 5 `levels`"),
        ("pass: {threshold: 0.6, on: value}", "path: /etc/passwd", 8, "`path` is not a key"),
        ("pass: {threshold: 0.6, on: value}", "trace: {keep: [all]}", 8, "'all' is not one of"),
        ("pass: {threshold: 0.6, on: value}", "judge: {params: {messages: []}}", 8, "messages cannot be set here"),
        ("pass: {threshold: 0.6, on: value}", "judge: {backend: decisions, repair: true}", 8, "know no `repair`"),
        ("    pass_when: The thing is there at the end of the run.\n", "", 5, "does not say `pass_when`"),
        ("name: demo", "name: other", 2, "its file must be 'other.rubric.md.j2'"),
        ("name: demo", "name: &a demo\nowner: *a", 3, "aliases"),
        ("name: demo", "name: demo\nname: demo", 3, "'name' stands twice"),
        ("name: demo", "name: [", 4, "not YAML"),
    ],
)
def test_a_wrong_front_matter_is_refused_with_its_line(old: str, new: str, where: int, said: str) -> None:
    assert old in FRONT
    with pytest.raises(RubricProblem) as caught:
        load(FRONT.replace(old, new))
    assert str(caught.value).startswith(f"{PATH}:{where}: ")
    assert said in str(caught.value)


def test_a_criterion_twice_points_at_the_second() -> None:
    twice = FRONT.replace(
        "pass: {", "  - id: done\n    question: Again?\n    pass_when: The same thing once more.\npass: {"
    )
    with pytest.raises(RubricProblem, match=r":8: criterion 'done' stands twice"):
        load(twice)


@pytest.mark.parametrize(
    "text", ["", "no front matter", "---\nname: x\n", "---\n- a\n---\n", "x\n---\n---\n", "x" * 70_000]
)
def test_what_is_no_rubric_file_is_refused(text: str) -> None:
    with pytest.raises(RubricProblem):
        parse(text, PATH)


def test_line_ends_bom_and_trailing_blanks_do_not_change_the_identity() -> None:
    text = FRONT + BODY
    same = "\ufeff" + text.replace("\n", "  \r\n") + "\r\n\r\n"
    assert identity(parse(same, PATH)) == identity(parse(text, PATH))


def test_any_other_change_and_any_change_of_an_include_is_another_identity() -> None:
    body = BODY.replace("Decide", '{% include "_shared/a.md.j2" %} Decide')
    one = load(body=body, _shared__a="alpha", unused="x")
    assert tuple(one.includes) == ("_shared/a.md.j2",)
    assert identity(one) == identity(load(body=body, _shared__a="alpha", unused="y"))
    assert identity(one) != identity(load(body=body, _shared__a="beta"))
    assert identity(one) != identity(load(body=body.replace("now", "soon"), _shared__a="alpha"))
    assert identity(one, {"_shared/a.md.j2": "beta"}) == identity(load(body=body, _shared__a="beta"))
