"""Why filters leave nothing: which of them is responsible, and what there is instead."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from worker.project.project import Project
from worker.store.runs import facets

_OPTIONS = {
    "task_type": ("--task-type", "task types"),
    "status": ("--status", "statuses"),
    "agent_version": ("--agent-version", "agent versions"),
}


class EmptyFilter(NamedTuple):
    """A filter that leaves nothing of what the others leave."""

    option: str
    """As it was given, like `--task-type`."""
    value: str
    noun: str
    """What its values are called, in the plural."""
    there_are: Sequence[str]
    """The values that the other filters leave; none where only several filters together leave nothing."""


class RunFilters(NamedTuple):
    """Which runs; None for all, bounds included."""

    task_type: str | None = None
    status: str | None = None
    since: date | None = None
    until: date | None = None
    agent_version: str | None = None

    def only(self, names: Collection[str]) -> "RunFilters":
        """These filters alone, of `task_type`, `status`, `agent_version` and `nights`."""
        kept = [*names, *(("since", "until") if "nights" in names else ())]
        return RunFilters(**{name: getattr(self, name) for name in self._fields if name in kept})


def responsible(names: Collection[str], left: Callable[[Collection[str]], bool]) -> list[str]:
    """The filters that leave nothing.

    Args:
        names: The filters that were given, which together leave nothing.
        left: Whether these filters alone leave something.

    Returns:
        Those without any one of which something is left; where there is none, those that leave nothing alone; where
        there is none either, all of them.

    Example:
        >>> responsible(["a", "b"], lambda some: "b" not in some)
        ['b']
        >>> responsible(["a", "b"], lambda some: not some)
        ['a', 'b']
    """
    single = [name for name in names if left([other for other in names if other != name])]
    return single or [name for name in names if not left([name])] or list(names)


def there_instead(
    names: Collection[str],
    left: Callable[[Collection[str]], bool],
    values: Callable[[str, Collection[str]], Sequence[str]],
) -> Iterator[tuple[str, Sequence[str]]]:
    """The filters that leave nothing, each with the values that there are.

    Args:
        names: As for `responsible`.
        left: As for `responsible`.
        values: The values of a filter's field in what other filters leave.

    Yields:
        Name and values: those that the other filters leave, or all where the filter leaves nothing by itself.
    """
    for name in responsible(names, left):
        others = [other for other in names if other != name]
        yield name, values(name, others) or ([] if left([name]) else values(name, []))


def empty_run_filters(project: Project, given: RunFilters) -> list[EmptyFilter]:
    """Why no run matches; empty where there are no runs at all, or some match. A second for a million runs.

    The two bounds of the nights count as one filter.
    """
    names = [name for name in _OPTIONS if getattr(given, name) is not None]
    names += ["nights"] if (given.since, given.until) != (None, None) else []
    with project.store.read() as connection:

        def values(name: str, some: Collection[str]) -> Sequence[str]:
            return facets.values_of(connection, name, **given.only(some)._asdict())

        def left(some: Collection[str]) -> bool:
            return bool(values("nights", some))

        if left(names) or not left([]):
            return []
        found = []
        for name, there in there_instead(names, left, values):
            option, noun = _OPTIONS.get(name, ("", "nights"))
            shown = (option, str(getattr(given, name))) if option else nights_option(given.since, given.until)
            found.append(EmptyFilter(*shown, noun, there))
        return found


def nights_option(since: date | None, until: date | None) -> tuple[str, str]:
    """The option that names nights, and its value.

    Example:
        >>> nights_option(date(2026, 11, 2), date(2026, 11, 8))
        ('--since', '2026-11-02 --until 2026-11-08')
    """
    if since is None:
        return "--until", str(until)
    return "--since", str(since) if until is None else f"{since} --until {until}"


def as_json(found: Sequence[EmptyFilter]) -> Mapping[str, object]:
    """What `--json` adds to an answer that is empty because of filters; nothing to any other."""
    return {"empty": [one._asdict() for one in found]} if found else {}
