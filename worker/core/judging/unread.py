"""What to change where a judge answers, and none of its answers gives a score.

One run without a verdict is that run's; where all of a night lack one for the same reason, a setting is to blame, and
the night is paid for nothing. This is the one place that decides so, and says what to do.
"""

from collections.abc import Mapping
from types import MappingProxyType

ENOUGH = 12
"""Runs that must have ended without a score: fewer may be chance."""
ADVICE = MappingProxyType(
    {
        "parse": "its answers are not the JSON that was asked for; take a model or server that knows JSON schemas, or "
        "set [judge] repair = true; spotcheck show RUN --judgment NAME --raw shows an answer",
        "empty_answer": "its answers are empty; switch its reasoning off in the rubric's judge params, or raise "
        "max_output_tokens, since reasoning may use it up",
        "truncated": "its answers are cut off; raise max_output_tokens in the rubric's judge section",
        "content_filter": "the server's filter holds its answers back; change it there, or take another model",
        "refusal": "it refuses to judge; change the rubric's words, or take another model",
        "too_long": "the prompts are too long for it; lower trace.budget_tokens in the rubric, or serve more context",
        "bad_request": "the server calls the questions wrong; look at the rubric's judge params",
        "unknown": "it says that the record does not let it decide; look at the rubric's criteria and what it is shown",
    }
)


def unread_advice(scorer: str, scored: int, unscored: Mapping[str, int]) -> str | None:
    """One line for a person where everything that a judge said of a night was for nothing.

    Args:
        scorer: Name of the rubric.
        scored: Its runs of the night that have a score.
        unscored: By reason, its runs of the night that were asked about and have none; may be empty.

    Returns:
        What is wrong and what to change; None from the first score on, while fewer than ENOUGH have ended, where there
        is more than one reason, and where the reason is none of a judge's answer.

    Example:
        >>> str(unread_advice("tone", 0, {"truncated": 12})).partition(";")[0]
        'tone: all 12 runs so far are unscored(truncated), its answers are cut off'
        >>> unread_advice("tone", 1, {"truncated": 12}) is None
        True
    """
    if scored or len(unscored) != 1:
        return None
    ((reason, runs),) = unscored.items()
    if runs < ENOUGH or reason not in ADVICE:
        return None
    return f"{scorer}: all {runs:,} runs so far are unscored({reason}), {ADVICE[reason]}"
