"""When a first verdict is in doubt, so that a second, stronger judge is called."""

from collections.abc import Collection, Sequence

from worker.core.judging.verdict import UNKNOWN
from worker.core.rubric.schema import Doubt, Escalate
from worker.records import Outcome

DOUBT_TEXTS: dict[Doubt, str] = {
    "low_confidence": "low confidence",
    "failed_evidence": "failed evidence",
    "unknown": "undecided",
    "unreadable": "unreadable",
}
"""The doubts in texts for people."""


def is_readable(outcomes: Sequence[Outcome]) -> bool:
    """Whether a judge's answer could be read; a verdict `unknown` counts as read.

    Example:
        >>> is_readable([Outcome(value=1.0), Outcome(reason="unknown")]), is_readable([Outcome(reason="parse")])
        (True, False)
    """
    return all(outcome.reason in (None, UNKNOWN) for outcome in outcomes)


def doubts(policy: Escalate, outcomes: Sequence[Outcome], required: Collection[str]) -> tuple[Doubt, ...]:
    """The reasons to call the second judge, in the order of the policy; empty where the first verdict counts.

    Args:
        policy: The rubric's escalation policy.
        outcomes: The first judge's aggregate and one outcome for each criterion; none for a run that was not judged.
        required: Ids of required criteria. Low confidence in another criterion matters only through the aggregate.

    Example:
        >>> policy = Escalate(when=("unknown", "low_confidence"), to="big")
        >>> doubts(policy, [Outcome(value=0.6, p_pass=0.6), Outcome(reason="unknown", criterion="one")], ["one"])
        ('unknown', 'low_confidence')
    """
    readable = is_readable(outcomes)
    tests = {
        "low_confidence": lambda: (
            readable and any(_is_unsure(policy, deciding) for deciding in _deciding(outcomes, required))
        ),
        "failed_evidence": lambda: any(outcome.evidence_ok is False for outcome in outcomes),
        "unknown": lambda: any(outcome.reason == UNKNOWN for outcome in outcomes),
        "unreadable": lambda: not readable,
    }
    return tuple(doubt for doubt in policy.when if tests[doubt]())


def _deciding(outcomes: Sequence[Outcome], required: Collection[str]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.criterion is None or outcome.criterion in required]


def _is_unsure(policy: Escalate, outcome: Outcome) -> bool:
    # rounded, since 1 - 0.8 is slightly less than 0.2
    return outcome.p_pass is not None and round(1 - policy.below, 9) < round(outcome.p_pass, 9) < policy.below
