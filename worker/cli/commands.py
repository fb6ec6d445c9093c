"""Every command by name, in the order of the daily acts."""

import typer

from worker.cli import db, drift, ingest, init, nightly, process, rubric, runs, sample, settings, status, trends
from worker.demo import demo


def register(app: typer.Typer) -> None:
    """Put all commands on the app; repeating it changes nothing."""
    if app.registered_commands:
        return
    app.command("demo")(demo.demo)
    app.command("init")(init.init)
    app.command("ingest")(ingest.ingest)
    app.command("sample")(sample.sample)
    app.command("score")(nightly.score)
    app.command("nightly")(nightly.nightly)
    app.command("trends")(trends.trends)
    app.command("drift")(drift.drift)
    app.command("runs")(runs.runs)
    app.command("show")(runs.show)
    app.command("explain")(runs.explain)
    app.command("status")(status.status)
    app.add_typer(rubric.app, name="rubric")
    app.command("worker")(process.worker)
    app.command("beat")(process.beat)
    app.add_typer(db.app, name="db")
    app.command("settings")(settings.settings)
