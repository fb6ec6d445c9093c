"""Words for an answer that is empty because of filters."""

from collections.abc import Sequence

from worker.cli.options import near
from worker.cli.output import inline
from worker.queries.empty import EmptyFilter

_MOST = 20


def why_empty(found: Sequence[EmptyFilter]) -> str:
    """Which filter leaves nothing, and what there is: the end of a sentence, or nothing.

    Example:
        >>> why_empty([EmptyFilter("--status", "errored", "statuses", ["completed", "aborted"])])
        '; --status errored leaves none, statuses here: completed, aborted'
    """
    return "".join(f"; {_one(each)}" for each in found)


def _one(one: EmptyFilter) -> str:
    said = inline(f"{one.option} {one.value} leaves none")
    if not one.there_are:
        return f"{said} of what the others leave"
    more = f" and {len(one.there_are) - _MOST:,} more" if len(one.there_are) > _MOST else ""
    return f"{said}, {one.noun} here: {inline(', '.join(one.there_are[:_MOST]))}{more}{meant(one.value, one.there_are)}"


def meant(name: str, known: Sequence[str]) -> str:
    """What was probably meant, as the end of a sentence; nothing where no name is near.

    Example:
        >>> meant("refnd", ["faq", "refund"]), meant("xyz", ["faq", "refund"])
        ('; did you mean refund?', '')
    """
    found = near(name, known)
    return found if found.startswith("; did you mean") else ""
