"""A run shortened for reading: the beginning of each text with its full length, the first and the last steps."""

import json
from collections.abc import Iterable
from typing import Any

from worker.core.judging.redact import redact
from worker.core.report.reading import Excerpt, StepLine
from worker.records import Run, Step

INPUT_CHARS, OUTPUT_CHARS, STEP_CHARS, RATIONALE_CHARS, ERROR_CHARS = 1_500, 2_500, 300, 1_200, 500
FIRST_STEPS, LAST_STEPS = 5, 4
_LOOK_AHEAD = 500
"""Characters beyond a cut that are searched for secrets too, so that half a secret is not shown."""


def excerpt(text: str, max_chars: int, *, is_redacted: bool = True) -> Excerpt:
    """The beginning of a text.

    Args:
        text: Any text; the time does not grow with its length.
        max_chars: Characters kept.
        is_redacted: Whether secrets and personal data are replaced by names such as `[email 1]`.

    Example:
        >>> excerpt("mail ann@example.org today", 10)
        Excerpt(text='mail [emai', size=26, is_cut=True)
    """
    near = text[: max_chars + _LOOK_AHEAD]
    shown = redact(near).text if is_redacted else near
    return Excerpt(shown[:max_chars], len(text), len(text) > len(near) or len(shown) > max_chars)


def optional_excerpt(text: str | None, max_chars: int, *, is_redacted: bool = True) -> Excerpt | None:
    """As `excerpt`; None for None."""
    return None if text is None else excerpt(text, max_chars, is_redacted=is_redacted)


def step_excerpts(run: Run, *, is_redacted: bool = True) -> tuple[StepLine, ...]:
    """The first and the last steps; all of them where there are few."""
    chosen: Iterable[Step] = run.steps
    if len(run.steps) > FIRST_STEPS + LAST_STEPS + 1:  # leaving out a single one would save nothing
        chosen = (*run.steps[:FIRST_STEPS], *run.steps[-LAST_STEPS:])
    return tuple(
        StepLine(
            step.seq,
            step.kind,
            step.name[:STEP_CHARS],
            optional_excerpt(step.error, STEP_CHARS, is_redacted=is_redacted),
            optional_excerpt(_as_text(step.arguments), STEP_CHARS, is_redacted=is_redacted),
            optional_excerpt(step.result, STEP_CHARS, is_redacted=is_redacted),
        )
        for step in chosen
    )


def _as_text(arguments: Any) -> str | None:  # noqa: ANN401 any JSON value
    if arguments is None or arguments == {}:
        return None
    if isinstance(arguments, str):
        return arguments
    try:
        return json.dumps(arguments, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        return "(nested too deep to show)"
