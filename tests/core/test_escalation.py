"""Which first verdicts a second judge is asked about."""

import pytest

from worker.core.judging.escalation import doubts, is_readable
from worker.core.rubric.parse import parse
from worker.core.rubric.problem import RubricProblem
from worker.core.rubric.schema import Doubt, Escalate
from worker.records import Outcome

ALL: tuple[Doubt, ...] = ("low_confidence", "failed_evidence", "unknown", "unreadable")
POLICY = Escalate(when=ALL, to="big", below=0.8)


def verdict(p_pass: float | None = None, **over: object) -> list[Outcome]:
    """A pass of the whole and of `one`, required, and `two`, not required."""
    made = [Outcome(value=1.0, criterion=criterion, label="pass") for criterion in (None, "one", "two")]
    made[0] = made[0].model_copy(update={"p_pass": p_pass} | over)
    return made


def change(place: int, **over: object) -> list[Outcome]:
    made = verdict()
    made[place] = made[place].model_copy(update=over)
    return made


NOTHING: list[Outcome] = []
LOST = [Outcome(reason="parse", criterion=criterion) for criterion in (None, "one", "two")]


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        (NOTHING, ()),
        (verdict(), ()),
        (verdict(p_pass=0.95), ()),
        (verdict(p_pass=0.8), ()),
        (verdict(p_pass=0.79), ("low_confidence",)),
        (verdict(p_pass=0.21), ("low_confidence",)),
        (verdict(p_pass=0.2), ()),
        (change(1, p_pass=0.5), ("low_confidence",)),
        (change(2, p_pass=0.5), ()),
        (change(2, evidence_ok=False), ("failed_evidence",)),
        (change(2, evidence_ok=True), ()),
        (change(2, value=None, label=None, reason="unknown"), ("unknown",)),
        (LOST, ("unreadable",)),
        ([outcome.model_copy(update={"p_pass": 0.5}) for outcome in LOST], ("unreadable",)),
    ],
)
def test_each_doubt_has_its_sign(outcomes: list[Outcome], why: tuple[str, ...]) -> None:
    assert doubts(POLICY, outcomes, ["one"]) == why


@pytest.mark.parametrize("doubt", ALL)
def test_a_doubt_that_is_not_asked_for_leaves_the_verdict(doubt: Doubt) -> None:
    others = Escalate(when=tuple(reason for reason in ALL if reason != doubt), to="big")
    bad = {
        "low_confidence": verdict(p_pass=0.5),
        "failed_evidence": change(1, evidence_ok=False),
        "unknown": change(1, value=None, reason="unknown"),
        "unreadable": LOST,
    }
    assert doubts(POLICY, bad[doubt], ["one"]) == (doubt,)
    assert doubts(others, bad[doubt], ["one"]) == ()


@pytest.mark.parametrize("reason", ["truncated", "refusal", "content_filter", "empty_answer", "parse"])
def test_an_answer_without_a_verdict_is_unreadable_and_one_that_says_unknown_is_not(reason: str) -> None:
    assert not is_readable([Outcome(reason=reason)])
    assert is_readable([Outcome(reason="unknown"), Outcome(value=0.0)])


RUBRIC = """---
name: demo
version: 1.0.0
criteria:
  - {id: one, question: "One?", pass_when: The first thing holds.}
judge:
  escalate: %s
---
{%% chat role="system" %%}x{%% endchat %%}{%% chat role="user" %%}{{ run | fenced }}{%% endchat %%}
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{when: [low], to: big}", "x:7: `judge.escalate.when.0`: .*'low_confidence'.*found 'low'"),
        ("{to: big}", "x:7: `judge.escalate`: say `when`: a list of low_confidence, failed_evidence, unknown, unread"),
        ("{when: [unknown]}", "x:7: `judge.escalate`: say `to`: the model to ask then"),
        ("{when: [unknown], to: big, below: 80}", "x:7: `judge.escalate.below`: must be below 1"),
        ("{when: [unknown], to: big, below: 0.5}", "x:7: `judge.escalate.below`: must be above 0.5"),
        ("{when: [unknown], too: big}", "x:7: `judge.escalate.too` is not a key of a rubric; did you mean `to`"),
        ("{when: [unknown], to: big}\n  model: big", "`judge`: `escalate.to` is 'big', the model that is asked first"),
        ("{when: [unknown], to: big}\n  samples: 21", "x:8: `judge.samples`: must be at most 20"),
        ("{when: [unknown], to: big}\n  samples: 0", "x:8: `judge.samples`: must be at least"),
    ],
)
def test_what_is_wrong_in_a_rubric_is_told_with_its_line(written: str, said: str) -> None:
    with pytest.raises(RubricProblem, match=said):
        parse(RUBRIC % written, "x")


def test_a_right_one_loads_and_none_at_all_is_nothing() -> None:
    policy = parse(RUBRIC % "{when: [unknown, unreadable], to: big}", "x").judge.escalate
    assert policy == Escalate(when=("unknown", "unreadable"), to="big", below=0.8)
    assert parse(RUBRIC % "{}", "x").judge.escalate == Escalate()
