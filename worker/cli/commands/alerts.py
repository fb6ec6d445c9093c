"""`spotcheck alerts`: what people are told, and what they decide about it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from worker.cli.context import now, project
from worker.cli.options import Json
from worker.cli.output import counted, inline, note, say, show_json
from worker.cli.views.destinations import destination_lines
from worker.errors import EXIT_DRIFT, EXIT_EXPORT, SettingsError
from worker.pipeline.decide import decide_alerts
from worker.project.project import Project
from worker.queries.alerts import AlertList, list_alerts
from worker.queries.readiness import learning, untested
from worker.records import Alert

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
    test: Annotated[
        bool, typer.Option("--test", help="Send one test message to every destination, and show what it answers.")
    ] = False,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit 10 when an alert is open.")] = False,
    as_json: Json = False,
) -> None:
    """What needs a person: changes in what every run shows, cost above a cap, and the weekly review's findings.

    Told now: error, abort, completion and tool-failure rates, cost and steps a run, runs and days above a cap. Told in
    the review: changes of quality. Told now too, and again when it is over: troubles of the pipeline itself, like runs
    that do not arrive any more, a rubric that scores nothing, or a judge that is down for hours. Each is sent, until it
    arrives, to every destination that is set: SPOTCHECK_WEBHOOK_URL gets signed JSON, SPOTCHECK_SLACK_URL a line.

    Examples: spotcheck alerts · spotcheck alerts --acknowledge 3 · spotcheck alerts --mute 3 --nights 14
    """
    opened = project()
    if test:
        _test(opened, as_json=as_json)
        return
    decisions = {"acknowledged": acknowledge or (), "muted": mute or (), "resolved": resolve or ()}
    if any(decisions.values()):
        decide_alerts(opened, decisions, muted_until=opened.nights.of(now()) + timedelta(days=nights))
    if send:  # comparing imports numpy, sending an HTTP client; listing does without them
        from worker.pipeline.deliver import deliver
        from worker.pipeline.operations.watch import watch

        watch(opened, now())
        deliver(opened, now())
    found = list_alerts(opened, everything=everything, limit=limit)
    if as_json:
        listed = [
            alert_json(alert) | {"sent": [row._asdict() for row in found.deliveries.get(alert.alert_id or 0, ())]}
            for alert in found.alerts
        ]
        show_json({"alerts": listed, "outbox": found.outbox})
    else:
        _show(opened, found)
    if fail_on_drift and any(alert.state == "open" for alert in found.undecided):
        raise typer.Exit(EXIT_DRIFT)


def _test(opened: Project, *, as_json: bool) -> None:
    """Send one message everywhere; exit 6 where a destination does not take it, 2 where there is none."""
    from worker.pipeline.deliver import send_test

    answers = send_test(opened, datetime.now(UTC))
    if not answers:
        raise SettingsError(
            "nothing is sent anywhere: set SPOTCHECK_WEBHOOK_URL (and SPOTCHECK_WEBHOOK_SECRET), or SPOTCHECK_SLACK_URL"
        )
    if as_json:
        show_json({"test": {name: answer._asdict() for name, answer in answers.items()}})
    else:
        for name, answer in answers.items():
            took = "took the test message" if answer.outcome == "taken" else f"did not take it ({answer.outcome})"
            say(f"{name} {took}: {inline(answer.text)}")
    if any(answer.outcome != "taken" for answer in answers.values()):
        raise typer.Exit(EXIT_EXPORT)


def _show(opened: Project, found: AlertList) -> None:
    open_now = sum(1 for alert in found.undecided if alert.urgency == "now" and alert.state == "open")
    told = f"{counted(open_now, 'alert')} to look at now" if open_now else "nothing needs you now"
    rest = sum(1 for alert in found.undecided if alert.urgency == "review")
    missing = None if found.alerts else untested(learning(opened))
    say(told + (f", {rest:,} for the weekly review" if rest else "") + (f"; {missing}" if missing else ""))
    if len(found.alerts) < len(found.undecided):
        note(f"the first {len(found.alerts):,} of {len(found.undecided):,}; --limit shows more")
    for alert in found.alerts:
        say()
        say(f"[{alert.alert_id}] {alert.urgency.upper():<6} {alert.text}")
        is_timed = alert.state == "muted" and alert.muted_until is not None
        state = f"muted until {alert.muted_until}" if is_timed else alert.state
        finding = "" if alert.finding_id is None else f" · finding {alert.finding_id}"
        told_at = f"told {alert.raised_at:%Y-%m-%d %H:%M} UTC"
        say(f"    {state} · night {alert.night} · {told_at}{finding}{_sent(found, alert)}")
    for destination in found.destinations:
        for index, line in enumerate(destination_lines(destination, opened.settings)):
            say(line if index else f"\n{line}")
    if found.outbox.get("failed"):
        say(f"\n{counted(found.outbox['failed'], 'message')} nobody took; `spotcheck alerts --json` says why")
    if not opened.settings.sinks and found.alerts:
        say(
            "\nnothing is sent anywhere: set SPOTCHECK_WEBHOOK_URL (and SPOTCHECK_WEBHOOK_SECRET), or "
            "SPOTCHECK_SLACK_URL, to be told"
        )


def _sent(found: AlertList, alert: Alert) -> str:
    """Which destinations have taken the message of an alert."""
    taken = [row.destination for row in found.deliveries.get(alert.alert_id or 0, ()) if row.state == "sent"]
    return f" · sent to {', '.join(taken)}" if taken else ""


def alert_json(alert: Alert) -> dict[str, Any]:
    """An alert as --json shows it."""
    return alert.model_dump(mode="json", exclude={"key"})
