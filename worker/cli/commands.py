"""Every command by name, in the order of the daily acts."""

import typer

from worker.cli import (
    alerts,
    db,
    drift,
    ingest,
    init,
    nightly,
    process,
    rubric,
    runs,
    sample,
    settings,
    status,
    trends,
    up,
)
from worker.demo import demo


def register(app: typer.Typer) -> None:
    """Put all commands on the app; repeating it changes nothing.

    Each has a line for the list; its docstring is its --help.
    """
    if app.registered_commands:
        return
    for name, command, said in (
        ("demo", demo.demo, "The whole loop on made-up runs: no key, no server."),
        ("init", init.init, "Write a commented spotcheck.toml and prompts/."),
        ("ingest", ingest.ingest, "Take runs in: one JSON object a line, plain or gzip."),
        ("sample", sample.sample, "Draw nights; --dry-run shows n and the cost first."),
        ("score", nightly.score, "Queue what is due and wake the workers."),
        ("nightly", nightly.nightly, "Draw, score, summarise, compare: the night's work."),
        ("trends", trends.trends, "Weekly means with interval, n and coverage."),
        ("drift", drift.drift, "Changes beyond chance, and what you decide of them."),
        ("alerts", alerts.alerts, "What needs a person, and what you decide about it."),
        ("runs", runs.runs, "List runs, newest first."),
        ("show", runs.show, "One run to read."),
        ("explain", runs.explain, "Every decision about one run."),
        ("status", status.status, "The counts, and whether they reconcile; queue, spend."),
        ("up", up.up, "Everything in one process, for one machine."),
        ("worker", process.worker, "Run a worker until it is told to stop."),
        ("beat", process.beat, "Send the minute's ticks."),
        ("health", process.health, "Exit 1 when due work is not touched; for engines."),
        ("settings", settings.settings, "Every setting with value, source and meaning."),
    ):
        app.command(name, short_help=said)(command)
    app.add_typer(rubric.app, name="rubric")
    app.add_typer(db.app, name="db")
