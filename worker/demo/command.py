"""`spotcheck demo`: eight made-up weeks, replayed night by night in a folder of their own, without a key.

Only the runs, the clock and the judge are simulated. Ingest, draw, Celery worker (in this process), openai client over
HTTP, job queue, trends, drift and alerts are the product's own. The judge is a loopback server that knows the truth of
each made-up run and adds noise.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from worker.demo import folder as place
from worker.demo import summary
from worker.demo.findings import RUBRIC
from worker.demo.history import QUALITY_DROP, WEEKS, History
from worker.demo.judge.opinion import simulated_judge
from worker.demo.judge.server import JudgeServer
from worker.demo.outcome import outcome
from worker.demo.replay import ReplayedNight, morning_after, replay, worker_thread
from worker.project.project import Project
from worker.queries.report.gather import ReportRequest, gather
from worker.render import html as report_html
from worker.scorers.rubric.files import shipped_prompts
from worker.settings import Settings
from worker.store.results import report as stored

_words = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
_INTERRUPTED = 130


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where everything goes; made anew.")] = Path("spotcheck-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Another number, another history.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The same answer for machines.")] = False,
) -> None:
    """Eight weeks of a made-up support and research agent, night by night: no key, no server, about two minutes.

    Four changes are planted in the history; at its end stands what was found of them. The judge is simulated.

    Examples: spotcheck demo · spotcheck demo --seed 7 --json
    """
    began = time.monotonic()
    last = datetime.now(UTC).date() - timedelta(days=1)
    try:
        answer = replay_into(folder, History(seed, last))
        answer["seconds"] = round(time.monotonic() - began, 1)
        if as_json:
            typer.echo(orjson.dumps(answer, default=str, option=orjson.OPT_INDENT_2).decode())
        else:
            _print_answer(answer)
    except KeyboardInterrupt:
        _words.print(f"interrupted; {folder} holds half a history, `spotcheck demo` makes it anew", markup=False)
        raise typer.Exit(_INTERRUPTED) from None


def replay_into(folder: Path, history: History) -> dict[str, Any]:
    """Replay a history into a folder.

    Args:
        folder: A new or empty folder, or one of an earlier demo.
        history: The history to replay.

    Returns:
        The answer of `--json`, without `seconds`.

    Raises:
        SettingsError: The folder holds something else.
    """
    text = place.prepare(folder, history.seed, history.nights[-1])
    with JudgeServer(simulated_judge(history.truths)) as server:
        settings = Settings.read(
            {
                "SPOTCHECK_DATABASE_URL": f"sqlite:///{(folder / place.DATABASE).resolve()}",
                "SPOTCHECK_BROKER_URL": "memory://",
                "SPOTCHECK_PROMPTS": str(shipped_prompts()),
                "OPENAI_BASE_URL": server.base_url,
            },
            text,
        )
        project = Project(settings).open()
        try:
            with _bar(len(history.nights)) as on_night, worker_thread(settings):
                findings = replay(project, history, on_night)
            answer = outcome(project, history, findings)
            answer |= {"runs": on_night.runs, "sampled": on_night.sampled, "folder": str(folder)}
            answer["example_run"] = _example(project, history)
            answer["report"] = _report(project, folder, history.nights[-1])
        finally:
            project.store.close()
    return answer


class _OnNight:
    """Shows the progress of the replay and keeps its counts."""

    def __init__(self, bars: Bars, nights: int) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=nights)
        self.runs = self.sampled = 0

    def __call__(self, done: ReplayedNight) -> None:
        self.runs, self.sampled = done.runs, done.sampled
        text = f"{done.night:%d %b}  {done.runs:,} runs, {done.sampled:,} drawn"
        self._bars.update(self._task, completed=done.nights, description=text)


class _Log(logging.Handler):
    """Prints the product's log lines, such as alerts, above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        _words.print(f"  {record.getMessage()}", markup=False)


@contextmanager
def _bar(nights: int) -> Iterator[_OnNight]:
    """A progress bar and the alerts on stderr; without a terminal only the alerts."""
    _words.print(f"replaying {WEEKS} made-up weeks, night by night, with a simulated judge …")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    log, handler = logging.getLogger("spotcheck"), _Log(logging.WARNING)
    before = log.propagate, log.level
    log.propagate = False
    log.setLevel(logging.WARNING)  # Celery sets the root logger's level to ERROR
    log.addHandler(handler)
    try:
        with Bars(*columns, console=_words, transient=True, disable=not _words.is_terminal) as bars:
            yield _OnNight(bars, nights)
    finally:
        log.removeHandler(handler)
        log.propagate = before[0]
        log.setLevel(before[1])


def _example(project: Project, history: History) -> str | None:
    """Id of the lowest scored run after the planted quality drop; None when there is none."""
    drop = next(planted for planted in history.planted if planted.what == QUALITY_DROP)
    rubrics = [scorer.pk for scorer in project.scorers.active() if scorer.key.name == RUBRIC]
    with project.store.read() as connection:
        worst = stored.lowest_scored(connection, drop.night, history.nights[-1], rubrics, drop.task_type, 1)
        names = stored.identities(connection, [pk for pk, _ in worst])
    return next((run_id for run_id, _ in names.values()), None)


def _report(project: Project, folder: Path, last: date) -> str:
    """Write the weekly review of the newest week, as `spotcheck report --html` does; returns its path."""
    path = folder / place.REPORT
    report = gather(project, ReportRequest(), morning_after(last))
    page = report_html.render(report, is_redacted=project.settings.scoring.redact)
    path.write_text(page, encoding="utf-8")
    return str(path)


def _print_answer(answer: dict[str, Any]) -> None:
    say = Console(highlight=False, soft_wrap=True, emoji=False).print

    def line(text: str = "") -> None:
        say(text, markup=False)

    line(f"{answer['runs']:,} runs, {answer['sampled']:,} drawn for scoring, in {answer['seconds']:.0f} s")
    line()
    line(f"$ spotcheck trends --scorer {RUBRIC}")
    line(_trends(Path(answer["folder"])))
    line()
    summary.print_findings(answer, line)
    line()
    summary.print_mix(answer["mix"], line)
    summary.print_counts(answer, line)
    line()
    summary.print_next_steps(
        answer, place.overriding_variables(os.environ), place.spotcheck_command(Path(answer["folder"])), line
    )


def _trends(folder: Path) -> str:
    """Output of `spotcheck trends` in the folder, run as a separate process without this shell's settings."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTCHECK_", "OPENAI_"))}
    if sys.stdout.isatty():
        environ["COLUMNS"] = str(Console().width)
    command = [sys.executable, "-m", "worker", "trends", "--scorer", RUBRIC]
    # our own interpreter and our own arguments
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    return (done.stdout or done.stderr).rstrip()
