"""Words for an answer that is empty because of filters, or of nights without runs."""

from collections.abc import Sequence
from datetime import date

from worker.cli.options import near
from worker.cli.output import inline
from worker.project.project import Project
from worker.queries.empty import EmptyFilter
from worker.queries.runs import night_span, nights_around

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


def no_runs(opened: Project, first: date | None, last: date | None) -> str | None:
    """That nights have no runs, and which have; None where any of them has one.

    Args:
        opened: The project.
        first: First night; None for all before `last`.
        last: Last night, included; None for all from `first` on.
    """
    span = night_span(opened)
    if span is None:
        return "no run was ever taken in (spotcheck ingest)"
    before, has_runs, after = nights_around(opened, first or date.min, last or date.max)
    if has_runs:
        return None
    if before is not None and after is not None:
        there = f"the nearest nights with runs are {before} and {after}"
    else:
        there = f"there are runs from {span[0]} to {span[1]}"
    if first is not None and first == last:
        return f"night {first} has no runs; {there}"
    bounds = f"from {first} on" if last is None else f"up to {last}" if first is None else f"{first} to {last}"
    return f"nights {bounds} have no runs; {there}"


def ranges(nights: Sequence[date], most: int = 5) -> str:
    """Nights in words, oldest first, those that follow one another together.

    Example:
        >>> ranges([date(2026, 11, 2), date(2026, 11, 3), date(2026, 11, 4), date(2026, 11, 9)])
        '2026-11-02 to 2026-11-04, 2026-11-09'
        >>> ranges([date(2026, 11, day) for day in (2, 4, 6)], most=2)
        '2026-11-02, 2026-11-04 and 1 more'
    """
    spans: list[list[date]] = []
    for night in nights:
        if spans and (night - spans[-1][-1]).days == 1:
            spans[-1].append(night)
        else:
            spans.append([night])
    said = [f"{span[0]}" if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans[:most]]
    rest = sum(len(span) for span in spans[most:])
    return ", ".join(said) + (f" and {rest:,} more" if rest else "")
