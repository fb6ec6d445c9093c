"""`spotcheck alerts`: what people are told, and what they decide about it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from worker.cli.context import now, project
from worker.cli.options import Json
from worker.cli.output import counted, say, show_json
from worker.errors import EXIT_DRIFT, SettingsError
from worker.project.project import Project
from worker.queries.readiness import learning, untested
from worker.records import Alert
from worker.store.results import alerts as store
from worker.store.results import outbox

MUTE_NIGHTS = 7
_MOST = 50


def alerts(
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    acknowledge: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Seen: alert N stays in the list, unrepeated. Repeatable.")
    ] = None,
    mute: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Send nothing more about the subject of alert N for a while.")
    ] = None,
    nights: Annotated[int, typer.Option(min=1, max=365, help="How long --mute lasts.")] = MUTE_NIGHTS,
    resolve: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Done: close alert N; a drift's new level is normal now.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = _MOST,
    send: Annotated[bool, typer.Option("--send", help="Look and send what waits now, without worker or beat.")] = False,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit 10 when an alert is open.")] = False,
    as_json: Json = False,
) -> None:
    """What needs a person: changes in what every run shows, cost above a cap, and the weekly review's findings.

    Told now: error, abort, completion and tool-failure rates, cost and steps a run, runs and days above a cap. Told in
    the review: changes of quality. With SPOTCHECK_WEBHOOK_URL each is sent there, signed, until it has arrived.

    Examples: spotcheck alerts · spotcheck alerts --acknowledge 3 · spotcheck alerts --mute 3 --nights 14
    """
    opened = project()
    _decide(opened, acknowledge or (), mute or (), resolve or (), nights)
    if send:  # comparing imports numpy, sending an HTTP client; listing does without them
        from worker.pipeline.deliver import deliver
        from worker.pipeline.operations.watch import watch

        watch(opened, now())
        deliver(opened, now())
    with opened.store.read() as connection:
        found = store.list_alerts(connection, everything=everything, limit=limit)
        letters = outbox.delivery(connection, [one.alert_id or 0 for one in found])
        waiting = outbox.waiting(connection)
    if as_json:
        listed = [
            alert_json(one) | {"sent": [dict(row) for row in letters.get(one.alert_id or 0, ())]} for one in found
        ]
        show_json({"alerts": listed, "outbox": waiting})
    else:
        _tell(opened, found, waiting)
    if fail_on_drift and any(one.state == "open" for one in found):
        raise typer.Exit(EXIT_DRIFT)


def _decide(
    opened: Project, acknowledge: Sequence[int], mute: Sequence[int], resolve: Sequence[int], nights: int
) -> None:
    if not (acknowledge or mute or resolve):
        return
    until = opened.nights.of(now()) + timedelta(days=nights)
    with opened.store.write() as connection:
        at = opened.store.now(connection)
        for state, numbers in (("acknowledged", acknowledge), ("muted", mute), ("resolved", resolve)):
            for number in numbers:
                if not store.decide(connection, [number], state, at, muted_until=until if state == "muted" else None):
                    raise SettingsError(f"there is no alert {number}; see `spotcheck alerts --all`")


def _tell(opened: Project, found: Sequence[Alert], outbox: dict[str, int]) -> None:
    open_now = sum(1 for one in found if one.urgency == "now" and one.state == "open")
    told = f"{counted(open_now, 'alert')} to look at now" if open_now else "nothing needs you now"
    rest = sum(1 for one in found if one.urgency == "review")
    missing = None if found else untested(learning(opened))
    say(told + (f", {rest:,} for the weekly review" if rest else "") + (f"; {missing}" if missing else ""))
    for one in found:
        say()
        say(f"[{one.alert_id}] {one.urgency.upper():<6} {one.text}")
        state = one.state if one.state != "muted" or one.muted_until is None else f"muted until {one.muted_until}"
        finding = "" if one.finding_id is None else f" · finding {one.finding_id}"
        say(f"    {state} · night {one.night} · told {one.raised_at:%Y-%m-%d %H:%M} UTC{finding}")
    if outbox.get("queued"):
        say(f"\n{counted(outbox['queued'], 'message')} on the way to the webhook")
    if outbox.get("failed"):
        say(f"\n{counted(outbox['failed'], 'message')} nobody took; `spotcheck alerts --json` says why")
    if not opened.settings.sinks and found:
        say("\nnothing is sent anywhere: set SPOTCHECK_WEBHOOK_URL (and SPOTCHECK_WEBHOOK_SECRET) to be told")


def alert_json(one: Alert) -> dict[str, Any]:
    """An alert as --json shows it."""
    return one.model_dump(mode="json", exclude={"key"})
