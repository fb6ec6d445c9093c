"""How `spotcheck alerts` and `spotcheck status` show a destination of alerts: what waits for it, and why."""

from collections.abc import Iterator

from worker.cli.output import counted, inline
from worker.queries.alerts import KEPT_DAYS, DestinationStatus
from worker.settings import VARIABLES, Settings


def destination_lines(destination: DestinationStatus, settings: Settings) -> Iterator[str]:
    """What waits, then what is in the way and what to do; nothing where nothing waits and nothing is."""
    if not destination.is_configured:
        yield (
            f"{counted(destination.waiting, 'message')} waiting for a destination that is no longer configured: "
            f"{inline(destination.name)}; given up {KEPT_DAYS} days after they were raised"
        )
        return
    if destination.waiting:
        yield f"{counted(destination.waiting, 'message')} on the way to {destination.name}"
    if destination.trouble is None:
        return
    said = f"{destination.name} took nothing: {inline(destination.trouble)}"
    if destination.is_misconfigured:
        variable = next((name for name, found in VARIABLES.items() if found.sink == destination.name), "its address")
        yield f"    {said}; check {variable} and its secret, the messages are kept {KEPT_DAYS} days"
    elif destination.next_at is not None:
        yield f"    {said}; tried again from {destination.next_at.astimezone(settings.zone):%H:%M:%S} on"
