"""`spotcheck worker` and `beat`: Celery's processes with our settings; and `health`, which asks after them."""

import os
from typing import Annotated

import typer
from celery import signals
from celery.apps import worker as celery_worker

from worker import celery
from worker.celery import broker
from worker.cli.context import project
from worker.cli.options import Json, near
from worker.cli.output import note, raw_note
from worker.cli.process.health import check, tell, wanted
from worker.cli.process.log_lines import as_log_lines
from worker.cli.process.wake import Waking
from worker.errors import SettingsError
from worker.project.project import Project

_INTERRUPTED = 130
_LEVELS = ("debug", "info", "warning", "error", "critical")


def worker(
    queues: Annotated[
        str, typer.Option("--queues", "-Q", help="Of judge, heuristics, control.")
    ] = "judge,heuristics,control",
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=256, help="Processes.")] = 2,
    with_beat: Annotated[bool, typer.Option("--beat", "-B", help="Send the minute's ticks from here too.")] = False,
    loglevel: Annotated[str, typer.Option("--loglevel", "-l", help="debug, info, warning or error.")] = "info",
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Unique on one host; made up when not given.")
    ] = None,
) -> None:
    """Run a worker: score what is due, heal, until it is told to stop.

    In production one worker for judge, one for control and heuristics. SIGTERM or Ctrl-C stops it within seconds:
    what is in hand is finished or given back.

    Examples: spotcheck worker · spotcheck worker -Q judge -c 4 · spotcheck worker -Q control,heuristics -B
    """
    known_level(loglevel)
    asked = [queue.strip() for queue in queues.split(",") if queue.strip()]
    for queue in asked:
        if queue not in celery.QUEUES.values():
            raise SettingsError(f"--queues: {queue!r} is not known{near(queue, celery.QUEUES.values())}")
    if not asked:
        raise SettingsError("--queues names none; use judge, heuristics or control")
    is_json = as_log_lines()
    opened = ready(project(creates=True), draws="control" in asked)
    if opened.settings.broker.startswith("memory://"):
        raise SettingsError(
            "SPOTCHECK_BROKER_URL is memory://, which no other process can reach; use redis:// or a folder"
        )
    arguments = ["worker", "-Q", ",".join(asked), "-c", str(concurrency), "--loglevel", loglevel]
    arguments += ["--without-gossip", "--without-mingle", "-n", name or f"spotcheck-{'-'.join(asked)}@%h"]
    if with_beat:
        arguments += ["-B"]
    if is_json:  # no banner, and what Celery says past its log becomes a line of it
        arguments = ["--quiet", *arguments]
        celery_worker.safe_say = lambda message, *_: raw_note(str(message))
    note(f"store {opened.store.shown} · broker {broker.shown(opened.settings)} · queues {', '.join(asked)}")
    told: list[str] = []
    ended: list[int | None] = []
    signals.worker_shutting_down.connect(lambda sig, **_: told.append(sig), weak=False)
    signals.worker_shutdown.connect(lambda sender, **_: ended.append(sender.exitcode), weak=False)
    celery.app.worker_main(arguments)
    if "SIGINT" in told:
        raise typer.Exit(_INTERRUPTED)
    if not told and any(ended):  # it broke; Celery keeps that to itself, and a supervisor must see it
        raise typer.Exit(1)


def ready(opened: Project, *, draws: bool = True) -> Project:
    """Tell of wrong prices, rubrics and brokers now, not in the night; and point Celery at the project.

    Args:
        opened: Whose process.
        draws: Whether it draws nights; else it scores from the store, and its rubric files do not matter.

    Raises:
        SettingsError, RubricError: One is wrong.
    """
    if draws:
        opened.prices.check()
        opened.scorers.tell(opened.scorers.candidate().lines)
    else:
        opened.prices.check(opened.scorers.configured())
    opened.store.close()
    Waking(opened)
    return opened


def beat(
    loglevel: Annotated[str, typer.Option("--loglevel", "-l", help="debug, info, warning or error.")] = "info",
) -> None:
    """Send the minute's ticks. Two of them, or none for days, are harmless: the database knows which nights are due.

    Examples: spotcheck beat
    """
    known_level(loglevel)
    as_log_lines()
    opened = project(creates=True)
    opened.store.close()
    Waking(opened)
    note(f"store {opened.store.shown} · broker {broker.shown(opened.settings)} · sending ticks")
    celery.app.start(["--quiet", "beat", "--loglevel", loglevel])


def health(
    lane: Annotated[
        list[str] | None, typer.Option("--lane", help="judge, heuristics, control or beat; may be repeated; else all.")
    ] = None,
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, help="Unhealthy when due jobs were not touched for so long.")
    ] = 5,
    as_json: Json = False,
) -> None:
    """Check that due jobs are worked on: exit 0, or 1 with the reason. Cheap enough for a container's health check.

    Unhealthy is a lane without a live worker, or with due jobs that nobody leased, renewed or resolved for five
    minutes; and beat, when no tick was handled for three. A judge that is down is degraded and exits 0: a restart of
    the worker would not help.

    Examples: spotcheck health · spotcheck health --lane judge
    """
    raise typer.Exit(tell(check(os.environ, wanted(lane or []), minutes), as_json=as_json))


def known_level(name: str) -> None:
    """Refuse a log level that is none.

    Raises:
        SettingsError: It is none.
    """
    if name.lower() not in _LEVELS:
        raise SettingsError(f"--loglevel {name!r} is not known; use {', '.join(_LEVELS)}")
