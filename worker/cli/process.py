"""`spotcheck worker` and `beat`: Celery's processes with our settings."""

from typing import Annotated

import typer

from worker import celery
from worker.cli.door import near, note, project
from worker.cli.waking import Waking
from worker.errors import SettingsError

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
    _known_level(loglevel)
    asked = [queue.strip() for queue in queues.split(",") if queue.strip()]
    for queue in asked:
        if queue not in celery.QUEUES.values():
            raise SettingsError(f"--queues: {queue!r} is not known{near(queue, celery.QUEUES.values())}")
    if not asked:
        raise SettingsError("--queues names none; use judge, heuristics or control")
    opened = project()
    opened.check_prices()
    opened.scorers  # noqa: B018 a wrong rubric is told now, not in the night
    opened.store.close()
    Waking(opened)
    if opened.settings.broker.startswith("memory://"):
        raise SettingsError(
            "SPOTCHECK_BROKER_URL is memory://, which no other process can reach; use redis:// or a folder"
        )
    arguments = ["worker", "-Q", ",".join(asked), "-c", str(concurrency), "--loglevel", loglevel]
    arguments += ["--without-gossip", "--without-mingle", "-n", name or f"spotcheck-{'-'.join(asked)}-%%h"]
    if with_beat:
        arguments += ["-B", "-s", str(celery.beat_file(opened.settings))]
    note(f"store {opened.store.shown} · broker {celery.shown_broker(opened.settings)} · queues {', '.join(asked)}")
    celery.app.worker_main(arguments)


def beat(
    loglevel: Annotated[str, typer.Option("--loglevel", "-l", help="debug, info, warning or error.")] = "info",
) -> None:
    """Send the minute's ticks. Two of them, or none for days, are harmless: the database knows which nights are due.

    Examples: spotcheck beat
    """
    _known_level(loglevel)
    opened = project()
    opened.store.close()
    Waking(opened)
    celery.app.start(["beat", "--loglevel", loglevel, "-s", str(celery.beat_file(opened.settings))])


def _known_level(name: str) -> None:
    if name.lower() not in _LEVELS:
        raise SettingsError(f"--loglevel {name!r} is not known; use {', '.join(_LEVELS)}")
