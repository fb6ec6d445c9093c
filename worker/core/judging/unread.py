"""What to change where a judge answers, and none of its answers gives a score.

One run without a verdict is that run's; where all of a night lack one, and mostly for the same reason, a setting is to
blame, and the night is paid for nothing. This is the one place that decides so, and says what to do.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

ENOUGH = 12
"""Runs that must have ended without a score for one reason: fewer may be chance."""
_MOST = 0.75
"""Share of the runs that must have ended for it."""
_SAID_CHARS = 200
ADVICE = MappingProxyType(
    {
        "parse": "its answers are not the JSON that was asked for; take a model or server that knows JSON schemas, or "
        "set [judge] repair = true",
        "empty_answer": "its answers are empty; switch its reasoning off in the rubric's judge params, or raise "
        "max_output_tokens, since reasoning may use it up",
        "truncated": "its answers are cut off; raise max_output_tokens in the rubric's judge section",
        "content_filter": "the server's filter holds its answers back; change it there, or take another model",
        "refusal": "it refuses to judge; change the rubric's words, or take another model",
        "prompt_cut": "the server answers a part of each prompt; raise its context length (Ollama: num_ctx), or lower "
        "trace.budget_tokens in the rubric",
        "too_long": "the prompts are too long for it; lower trace.budget_tokens in the rubric, or serve more context",
        "bad_request": "the server calls the questions wrong; look at the rubric's judge params",
        "unknown": "it says that the record does not let it decide; look at the rubric's criteria and what it is shown",
    }
)
"""By reason that a judge's answer, or its server, gives: what that means and what to do."""


class Unread(NamedTuple):
    """A night of which no run has a score, and why."""

    scorer: str
    runs: int
    """That ended without a score."""
    reason: str
    """Why most of them did."""
    of_reason: int
    """How many did for it."""
    advice: str
    example: str | None = None
    """The id of such a run."""
    said: str | None = None
    """What is known of that run's answer; may hold anything that a judge wrote."""

    @property
    def line(self) -> str:
        """For a person.

        Example:
            >>> Unread("tone", 20, "truncated", 18, "it is cut").line.partition(";")[0]
            'tone: all 20 runs so far have no score, 18 of them are unscored(truncated), it is cut'
        """
        of = "" if self.of_reason == self.runs else f"have no score, {self.of_reason:,} of them "
        said = "" if self.said is None else f" ({self.said[:_SAID_CHARS]})"
        show = f"; spotcheck show {self.example or 'RUN'} --judgment {self.scorer} --raw shows one{said}"
        return f"{self.scorer}: all {self.runs:,} runs so far {of}are unscored({self.reason}), {self.advice}{show}"


def unread(scorer: str, scored: int, unscored: Mapping[str, int]) -> Unread | None:
    """What to change where everything that a judge said of a night was for nothing.

    Args:
        scorer: Name of the rubric.
        scored: Its runs of the night that have a score.
        unscored: By reason, its runs of the night that were asked about and have none; may be empty.

    Returns:
        None from the first score on, while fewer than ENOUGH have ended for one reason, where no reason is that of
        three quarters, and where it is none of a judge's answer.

    Example:
        >>> str(unread("tone", 0, {"truncated": 12})).partition(",")[0]
        "Unread(scorer='tone'"
        >>> unread("tone", 1, {"truncated": 12}) is None
        True
    """
    if scored or not unscored:
        return None
    reason, of_reason = max(unscored.items(), key=lambda each: each[1])
    runs = sum(unscored.values())
    if of_reason < max(ENOUGH, _MOST * runs) or reason not in ADVICE:
        return None
    return Unread(scorer, runs, reason, of_reason, ADVICE[reason])
