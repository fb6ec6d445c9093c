"""A week of nights on an accelerated clock, with real processes: beat killed for three nights, two beats for the rest.

Run it from the project's root: `python -m bench.week [--stack sqlite|production|both] [--speed 5000]`.

`spotcheck beat` and `spotcheck worker` share a rehearsal's clock (SPOTCHECK_CLOCK). Runs of each night are taken in
while its day lasts. Beat is killed with -9 after the second night, left dead until three more are due, and started
again twice; one of the two is stopped before the last night. Every night must be drawn once, and the counts reconcile.
"""

import argparse
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import func, select

from tests.support import servers
from tests.support.processes import ProcessShell, database, environment, stop
from worker.clock import Clock
from worker.connectors.sources import jsonl
from worker.connectors.sources.source import Rejected
from worker.core.schedule import due_from
from worker.pipeline.intake.take import take
from worker.pipeline.nightly import open_jobs
from worker.project.project import Project
from worker.settings import Settings
from worker.store.queue import workers
from worker.store.runs import draws
from worker.store.tables import DrawRow, RunRow, SampleRow, core

START = datetime(2026, 10, 19, 12, tzinfo=UTC)
"""A Monday; clocks in Berlin are set back on the Sunday, so one of the nights has 25 hours."""
NIGHTS, RUNS = 7, 60
HISTORY = 4
"""Nights before the first tick: taken in, and never to be drawn."""
LEAD_S, PATIENCE_S = 8.0, 180.0
_LOOK_S = 0.05
DAY = timedelta(days=1)
TOML = """\
[sampling]
rate = 0.3
[scoring]
heuristics = ["answer_present", "completed"]
rubrics = []
[schedule]
at = "02:00"
time_zone = "Europe/Berlin"
"""
draw, run, sample = core(DrawRow), core(RunRow), core(SampleRow)


class Night(NamedTuple):
    """One night as the database has it."""

    night: date
    due_at: datetime
    drawn_at: datetime | None
    """By the rehearsal's clock."""
    strata: int
    decisions: int
    """Rows that decide a stratum; more than there are strata means that one was decided again."""
    population: int
    sampled: int
    below: int
    """Runs whose key the stored threshold draws."""
    while_dead: bool
    """Due while beat was dead."""


class Week(NamedTuple):
    """What came of it."""

    stack: str
    speed: float
    nights: list[Night]
    undrawn_at_restart: list[date]
    drawn_before_start: list[date]
    ticks: int
    """Tick messages that workers took."""
    status: Mapping[str, Any]
    seconds: float


def main() -> None:
    """Rehearse, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.week", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stack", choices=("sqlite", "production", "both"), default="both")
    parser.add_argument("--speed", type=float, default=5_000)
    options = parser.parse_args()
    weeks = []
    if options.stack in ("sqlite", "both"):
        with tempfile.TemporaryDirectory(prefix="week-") as folder:
            weeks.append(rehearse("SQLite + filesystem", Path(folder), {}, options.speed))
    if options.stack in ("production", "both"):
        with (
            tempfile.TemporaryDirectory(prefix="week-") as folder,
            servers.postgres() as made,
            servers.redis() as broker,
        ):
            urls = {"SPOTCHECK_DATABASE_URL": made(), "SPOTCHECK_BROKER_URL": broker()}
            weeks.append(rehearse("PostgreSQL + Redis", Path(folder), urls, options.speed))
    print(report(weeks))
    if problems := [f"{week.stack}: {fault}" for week in weeks for fault in faults(week)]:
        sys.exit("\n".join(problems))


def rehearse(stack: str, folder: Path, urls: Mapping[str, str], speed: float) -> Week:
    """Play the week.

    Args:
        stack: Its name.
        folder: An empty folder.
        urls: Database and broker; SQLite and a folder without them.
        speed: Seconds of the clock in a real second.
    """
    began = time.monotonic()
    clock = Clock(START, datetime.now(UTC) + timedelta(seconds=LEAD_S), speed)
    environ = environment("", {**urls, "SPOTCHECK_CLOCK": str(clock)})
    (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    project = Project(Settings.read(environ | {"SPOTCHECK_DATABASE_URL": database(folder, environ)}, TOML)).open()
    with ExitStack() as ends:
        ends.callback(project.store.close)
        play = _Play(project, clock, ProcessShell(folder, environ))
        for back in range(HISTORY, 0, -1):
            play.feed((START - back * DAY).date())
        ends.enter_context(play.running("worker", "-Q", "judge,control,heuristics", "-c", "2"))
        undrawn = play.week()
        status = play.shell.timed("status", "status", "--since", str(play.first), "--until", str(play.last), "--json")
        log = (folder / "processes.log").read_text(encoding="utf-8")
        nights = [_night(project, night, is_dead=2 <= index < 5) for index, night in enumerate(play.nights)]
        with project.store.read() as connection:
            early = [night for night in draws.drawn_nights(connection) if night < play.first]
    ticks = sum("Task spotcheck.tick" in line and line.rstrip().endswith("received") for line in log.splitlines())
    return Week(stack, speed, nights, undrawn, early, ticks, status, time.monotonic() - began)


class _Play:
    """The processes, and the runs that come in day by day."""

    def __init__(self, project: Project, clock: Clock, shell: ProcessShell) -> None:
        self.project, self.clock, self.shell = project, clock, shell
        self.first = self.last = START.date()
        self._fed = START.date() - DAY

    @property
    def nights(self) -> list[date]:
        return [self.first + index * DAY for index in range(NIGHTS)]

    def week(self) -> list[date]:
        """Beat, none for three nights, two, one."""
        with self.running("beat") as beat:
            self.until(lambda: self.project.nights.start() is not None, "the first tick")
            self.first = self.project.nights.start() or self.first
            self.last = self.nights[-1]
            self.until_drawn(self.nights[1])
            os.killpg(beat.pid, signal.SIGKILL)
            beat.wait()
        self.until(lambda: self.clock.now() > self.due(self.nights[4]) + timedelta(hours=1), "three nights pass")
        undrawn = [night for night in self.nights if night not in self.drawn()]
        with self.running("beat"):
            with self.running("beat"):
                self.until_drawn(self.nights[5])
            self.until_drawn(self.nights[6])
            self.until(lambda: not open_jobs(self.project), "every job is resolved")
        return undrawn

    def due(self, night: date) -> datetime:
        settings = self.project.settings
        return due_from(night, settings.schedule.at, settings.zone)

    def drawn(self) -> set[date]:
        with self.project.store.read() as connection:
            return set(draws.drawn_nights(connection))

    def until_drawn(self, night: date) -> None:
        self.until(lambda: night in self.drawn(), f"night {night} is drawn")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait, taking in each day's runs as it passes."""
        ends = time.monotonic() + PATIENCE_S
        while not condition():
            while self.clock.now() >= datetime.combine(self._fed + DAY, datetime.min.time(), UTC) + timedelta(hours=13):
                self._fed += DAY
                self.feed(self._fed)
            if time.monotonic() > ends:
                raise TimeoutError(f"not within {PATIENCE_S:g} s: {what}\n{self._log()[-3000:]}")
            time.sleep(_LOOK_S)  # looked at again: the workers are processes of their own

    def feed(self, night: date) -> None:
        """Take in the runs of a day, as they ended between six and eleven o'clock."""
        now = self.clock.now()
        lines = io.BytesIO(b"\n".join(documents(night)))
        taken = take(
            self.project, jsonl.read(lines, now=now, limits=self.project.settings.intake), now, on_rejected=_refuse
        )
        assert taken.accepted == RUNS, taken

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A process of `spotcheck`, the leader of its own group; told to stop at the end."""
        with (self.shell.folder / "processes.log").open("ab") as log:
            process = self.shell.start(*arguments, stdout=log, stderr=log, start_new_session=True)
        try:
            if arguments[0] == "worker":
                self.until(lambda: self._is_alive(process), "the worker comes up")
            yield process
        finally:
            stop([process])

    def _is_alive(self, process: "subprocess.Popen[bytes]") -> bool:
        if process.poll() is not None:
            raise RuntimeError(self._log()[-3000:])
        with self.project.store.read() as connection:
            alive = workers.live_workers(connection, self.project.store.now(connection))
        return process.pid in {row["pid"] for row in alive}

    def _log(self) -> str:
        return (self.shell.folder / "processes.log").read_text(encoding="utf-8")


def _refuse(rejected: Rejected) -> None:
    raise AssertionError(rejected)


def documents(night: date) -> Iterator[bytes]:
    """The runs of a day, of two task types."""
    for number in range(RUNS):
        ended = datetime(night.year, night.month, night.day, 6, tzinfo=UTC) + timedelta(seconds=300 * number)
        yield orjson.dumps(
            {
                "run_id": f"run-{night}-{number}",
                "task_type": ("refund", "faq")[number % 2],
                "status": "completed" if number % 7 else "errored",
                "ended_at": ended.isoformat(),
                "input": f"Please refund order {number}, the lamp came broken.",
                "output": f"I have refunded order {number}; the money arrives in three days.",
            }
        )


def _night(project: Project, night: date, *, is_dead: bool) -> Night:
    same = (draw.c.task_type == run.c.task_type) & (draw.c.flagged == run.c.flagged) & (draw.c.night == run.c.night)
    below = select(func.count()).join(draw, same).where(run.c.night == night, run.c.sample_key < draw.c.threshold)
    with project.store.read() as connection:
        decided = connection.execute(select(draw.c.task_type, draw.c.flagged).where(draw.c.night == night)).all()
        population = connection.execute(select(func.count()).where(run.c.night == night)).scalar_one()
        sampled = connection.execute(select(func.count()).where(sample.c.night == night)).scalar_one()
        return Night(
            night,
            due_from(night, project.settings.schedule.at, project.settings.zone),
            draws.drawn_at(connection, [night]).get(night),
            len({tuple(row) for row in decided}),
            len(decided),
            population,
            sampled,
            connection.execute(below.select_from(run)).scalar_one(),
            is_dead,
        )


def faults(week: Week) -> Iterator[str]:
    """What must not be."""
    for one in week.nights:
        if one.drawn_at is None or not one.strata:
            yield f"night {one.night} was not drawn"
        elif one.drawn_at < one.due_at:
            yield f"night {one.night} was drawn at {one.drawn_at}, before it was due at {one.due_at}"
        if one.decisions != one.strata:
            yield f"night {one.night} was decided {one.decisions} times for {one.strata} strata"
        if one.sampled != one.below or not one.sampled:
            yield f"night {one.night}: {one.sampled} runs drawn, {one.below} below the threshold"
        if one.population != RUNS:
            yield f"night {one.night} has {one.population} runs"
    if week.drawn_before_start:
        yield f"drawn, though before the first tick: {week.drawn_before_start}"
    # a message that was under way when beat was killed may still draw the first of the three
    if not {one.night for one in week.nights if one.while_dead}.difference(week.undrawn_at_restart) <= {
        week.nights[2].night
    }:
        yield f"nights were drawn while beat was dead; left were {week.undrawn_at_restart}"
    scorers, totals = week.status["scorers"], week.status["totals"]
    if not week.status["reconciles"] or totals["pending"] or totals["ended"] != 2 * RUNS * NIGHTS or not scorers:
        yield f"the counts do not reconcile: {totals}"
    if totals["scored"] + totals["unscored"] != 2 * sum(one.sampled for one in week.nights):
        yield f"{totals} for {sum(one.sampled for one in week.nights)} runs drawn and two scorers"


def report(weeks: list[Week]) -> str:
    """The figures, in Markdown."""
    lines = ["| | " + " | ".join(week.stack for week in weeks) + " |", "|---|" + "--:|" * len(weeks)]
    rows: dict[str, Callable[[Week], str]] = {
        "clock": lambda week: f"{week.speed:,.0f} ×",
        "nights drawn, of 7": lambda week: str(sum(one.drawn_at is not None for one in week.nights)),
        "of which beat was dead when they fell due": lambda week: str(sum(one.while_dead for one in week.nights)),
        "of those undrawn when beat was started again": lambda week: str(
            len({one.night for one in week.nights if one.while_dead}.intersection(week.undrawn_at_restart))
        ),
        "strata, decisions": lambda week: (
            f"{sum(one.strata for one in week.nights)}, {sum(one.decisions for one in week.nights)}"
        ),
        "runs, drawn": lambda week: (
            f"{sum(one.population for one in week.nights)}, {sum(one.sampled for one in week.nights)}"
        ),
        "ticks handled": lambda week: str(week.ticks),
        "late, with beat alive, real s (median)": lambda week: f"{_late(week, while_dead=False):.1f}",
        "history before the first tick, nights drawn": lambda week: str(len(week.drawn_before_start)),
        "counts reconcile": lambda week: "yes" if week.status["reconciles"] else "NO",
        "wall, s": lambda week: f"{week.seconds:.0f}",
    }
    lines += [f"| {name} | " + " | ".join(said(week) for week in weeks) + " |" for name, said in rows.items()]
    return "\n".join(lines)


def _late(week: Week, *, while_dead: bool) -> float:
    late = sorted(
        (one.drawn_at - one.due_at).total_seconds() / week.speed
        for one in week.nights[1:]  # the first was over before the first tick
        if one.drawn_at is not None and one.while_dead == while_dead
    )
    return late[len(late) // 2] if late else float("nan")


if __name__ == "__main__":
    main()
