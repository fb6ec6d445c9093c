"""Every command by name, in the order of the daily acts. A command's module is imported when that command is given."""

import gc
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup, TyperOption


class CommandEntry(NamedTuple):
    """Where a command is, and its line in the list."""

    module: str
    help: str
    is_group: bool = False
    """Whether the module holds a Typer app of its own, named `app`, instead of a function with the command's name."""


COMMANDS = {
    "demo": CommandEntry("worker.demo.command", "The whole loop on made-up runs: no key, no server."),
    "init": CommandEntry("worker.cli.commands.init", "Write a commented spotcheck.toml and prompts/."),
    "ingest": CommandEntry("worker.cli.commands.ingest", "Take run files in, plain or gzip; safe to repeat."),
    "sample": CommandEntry("worker.cli.commands.sample", "Draw nights; --dry-run shows n and the cost first."),
    "score": CommandEntry("worker.cli.commands.nightly", "Queue what is due and wake the workers."),
    "nightly": CommandEntry("worker.cli.commands.nightly", "Draw, score, summarise, compare: the night's work."),
    "backfill": CommandEntry("worker.cli.commands.backfill", "Score drawn nights again; the price first."),
    "trends": CommandEntry("worker.cli.commands.trends", "Weekly means with interval, n and coverage."),
    "drift": CommandEntry("worker.cli.commands.drift", "Changes beyond chance, and what you decide of them."),
    "alerts": CommandEntry("worker.cli.commands.alerts", "What needs a person, and what you decide about it."),
    "report": CommandEntry("worker.cli.commands.report", "The weekly review: terminal, HTML, Markdown, JSON."),
    "runs": CommandEntry("worker.cli.commands.runs", "List runs, newest first."),
    "show": CommandEntry("worker.cli.commands.show", "One run to read."),
    "explain": CommandEntry("worker.cli.commands.explain", "Every decision about one run."),
    "status": CommandEntry("worker.cli.commands.status", "The counts, and whether they reconcile; queue, spend."),
    "up": CommandEntry("worker.cli.process.up", "Everything in one process, for one machine."),
    "worker": CommandEntry("worker.cli.process.run", "Run a worker until it is told to stop."),
    "beat": CommandEntry("worker.cli.process.run", "Send the minute's ticks."),
    "health": CommandEntry("worker.cli.process.run", "Exit 1 when due work is not touched; for engines."),
    "settings": CommandEntry("worker.cli.commands.settings", "Every setting with value, source and meaning."),
    "rubric": CommandEntry(
        "worker.cli.commands.rubric", "The rubrics: list, check, preview, and which version scores.", True
    ),
    "schema": CommandEntry("worker.cli.commands.schema", "The format of runs, as a JSON Schema.", True),
    "db": CommandEntry("worker.cli.commands.db", "The database's schema.", True),
}


class LazyCommands(MutableMapping[str, Any]):
    """The commands of a group by name; each is imported when it is asked for, and the names alone import nothing."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 typer keeps its command class to itself
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:  # noqa: ANN401 as above
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _load(name: str, entry: CommandEntry) -> Any:  # noqa: ANN401 as above
    is_collecting = gc.isenabled()
    gc.disable()  # nothing that an import makes is garbage, and looking for some would be a fifth of its time
    try:
        module = import_module(entry.module)
    finally:
        gc.freeze()  # it stays, so that looking through it later would cost every command a tenth of its time
        if is_collecting:
            gc.enable()
    holder = typer.Typer(rich_markup_mode=None, add_completion=False)
    if entry.is_group:
        _insist_on_single_values(module.app)
        holder.add_typer(module.app, name=name)
        group: Any = typer.main.get_command(holder)
        return group.commands[name]
    holder.command(name, cls=SingleValues, short_help=entry.help)(getattr(module, name))
    return typer.main.get_command(holder)


def _insist_on_single_values(app: typer.Typer) -> None:
    """Give every command of a group that class."""
    for command in app.registered_commands:
        command.cls = SingleValues
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _insist_on_single_values(group.typer_instance)


class SingleValues(TyperCommand):
    """A command that refuses an option which takes one value and is given twice; else the last would win unseen."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 typer keeps its context class to itself
        """Read the arguments.

        Raises:
            UsageError: typer's; an option is repeated, or anything else is wrong.
        """
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for parameter in given:
                takes_one = isinstance(parameter, TyperOption) and not (parameter.is_flag or parameter.multiple)
                if takes_one and given.count(parameter) > 1:
                    ctx.fail(f"{parameter.opts[0]} is given {given.count(parameter)} times and takes one value")
        return super().parse_args(ctx, args)


class LazyGroup(TyperGroup):
    """A group that lists and completes the names of its commands from the table above, and so imports none of them."""

    def __init__(self, **attrs: Any) -> None:  # noqa: ANN401 typer's own
        super().__init__(**attrs)
        self.commands = LazyCommands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 typer keeps its context class to itself
        """Their names, in the order of the table."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 as above
        """The list in `--help`."""
        with self._only_named():
            super().format_commands(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 as above
        """Names and options that begin with what is typed."""
        with self._only_named():
            return list(super().shell_complete(ctx, incomplete))

    @contextmanager
    def _only_named(self) -> Iterator[None]:
        """For a moment every command is its name and its line in the list."""
        commands = self.commands
        self.commands = {name: TyperCommand(name, short_help=entry.help) for name, entry in COMMANDS.items()}
        try:
            yield
        finally:
            self.commands = commands
