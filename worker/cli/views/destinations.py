"""How `spotcheck alerts` and `spotcheck status` show a destination of alerts: what waits for it, and why."""

from collections.abc import Iterator

from worker.cli.output import counted, inline
from worker.queries.destinations import KEPT_DAYS, DestinationStatus
from worker.settings import VARIABLES, Settings


def destination_lines(one: DestinationStatus, settings: Settings) -> Iterator[str]:
    """What waits, then what is in the way and what to do; nothing where nothing waits and nothing is."""
    if not one.is_configured:
        yield (
            f"{counted(one.waiting, 'message')} waiting for a destination that is no longer configured: "
            f"{inline(one.name)}; given up {KEPT_DAYS} days after they were raised"
        )
        return
    if one.waiting:
        yield f"{counted(one.waiting, 'message')} on the way to {one.name}"
    if one.trouble is None:
        return
    said = f"{one.name} took nothing: {inline(one.trouble)}"
    if one.is_misconfigured:
        variable = next((name for name, found in VARIABLES.items() if found.sink == one.name), "its address")
        yield f"    {said}; check {variable} and its secret, the messages are kept {KEPT_DAYS} days"
    elif one.next_at is not None:
        yield f"    {said}; tried again from {one.next_at.astimezone(settings.zone):%H:%M:%S} on"
