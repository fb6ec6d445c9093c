"""Versions of our own rules that scorers share: a changed rule is another ruler, and so starts a new series."""

from typing import Literal

from worker.core import sampling
from worker.core.judging import precheck, redact, verdict

Rule = Literal["redaction", "precheck", "reading", "reference"]
_FIRST = "1"
"""Of series from before rules had a version."""


def changed_rules(*rules: Rule) -> dict[str, str]:
    """Versions of these rules for a fingerprint, without those that are the first: naming them would end all series.

    Args:
        rules: `redaction` (what is blanked), `precheck` (what is no answer), `reading` (what a judge's reply is worth),
            `reference` (what is usual for a task type).

    Returns:
        By name, for example `{"redaction_version": "2"}`.

    Example:
        >>> changed_rules("precheck", "reading")
        {}
    """
    versions = {
        "redaction": redact.REDACTION_VERSION,
        "precheck": precheck.PRECHECK_VERSION,
        "reading": verdict.READING_VERSION,
        "reference": sampling.REFERENCE_VERSION,
    }
    return {f"{rule}_version": versions[rule] for rule in rules if versions[rule] != _FIRST}
