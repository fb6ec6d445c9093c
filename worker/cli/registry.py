"""Every command by name, in the order of the daily acts; its room is entered only when the command is given."""

from importlib import import_module

import typer

COMMANDS = (
    ("demo", "worker.demo.command", "The whole loop on made-up runs: no key, no server."),
    ("init", "worker.cli.commands.init", "Write a commented spotcheck.toml and prompts/."),
    ("ingest", "worker.cli.commands.ingest", "Take runs in: one JSON object a line, plain or gzip."),
    ("sample", "worker.cli.commands.sample", "Draw nights; --dry-run shows n and the cost first."),
    ("score", "worker.cli.commands.nightly", "Queue what is due and wake the workers."),
    ("nightly", "worker.cli.commands.nightly", "Draw, score, summarise, compare: the night's work."),
    ("trends", "worker.cli.commands.trends", "Weekly means with interval, n and coverage."),
    ("drift", "worker.cli.commands.drift", "Changes beyond chance, and what you decide of them."),
    ("alerts", "worker.cli.commands.alerts", "What needs a person, and what you decide about it."),
    ("report", "worker.cli.commands.report", "The weekly review: terminal, HTML, Markdown, JSON."),
    ("runs", "worker.cli.commands.runs", "List runs, newest first."),
    ("show", "worker.cli.commands.runs", "One run to read."),
    ("explain", "worker.cli.commands.runs", "Every decision about one run."),
    ("status", "worker.cli.commands.status", "The counts, and whether they reconcile; queue, spend."),
    ("up", "worker.cli.process.up", "Everything in one process, for one machine."),
    ("worker", "worker.cli.process.run", "Run a worker until it is told to stop."),
    ("beat", "worker.cli.process.run", "Send the minute's ticks."),
    ("health", "worker.cli.process.run", "Exit 1 when due work is not touched; for engines."),
    ("settings", "worker.cli.commands.settings", "Every setting with value, source and meaning."),
)
"""Name, module, and a line for the list. The function has the command's name; its docstring is its --help."""
GROUPS = (("rubric", "worker.cli.commands.rubric"), ("db", "worker.cli.commands.db"))


def register(app: typer.Typer, only: str | None = None) -> None:
    """Put commands on the app; repeating it changes nothing.

    Args:
        app: The door.
        only: The one command or group that was given: the others' imports would cost it half a second. Anything else,
            None included, puts all of them there.
    """
    known = {one.name for one in app.registered_commands} | {one.name for one in app.registered_groups}
    names = {name for name, *_ in (*COMMANDS, *GROUPS)}
    wanted = ({only} if only in names else names) - known
    for name, module, said in COMMANDS:
        if name in wanted:
            app.command(name, short_help=said)(getattr(import_module(module), name))
    for name, module in GROUPS:
        if name in wanted:
            app.add_typer(import_module(module).app, name=name)
