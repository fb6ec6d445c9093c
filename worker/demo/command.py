"""`spotcheck demo`: eight weeks of a made-up team, lived through night by night, in one folder, without a key.

Everything is real but the runs, the clock and the judge: the same ingest, draw, Celery worker (in this process), openai
client over HTTP, ledger, trends, drift and alerts. The judge is simulated: a loopback server that knows the made-up
truth, with noise.
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
from worker.demo import tell
from worker.demo.findings import RUBRIC
from worker.demo.history import QUALITY_DROP, WEEKS, History
from worker.demo.judge.opinion import judge
from worker.demo.judge.server import JudgeServer
from worker.demo.outcome import outcome
from worker.demo.replay import Progress, morning_after, replay, working
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
        answer = live(folder, History(seed, last))
        answer["seconds"] = round(time.monotonic() - began, 1)
        if as_json:
            typer.echo(orjson.dumps(answer, default=str, option=orjson.OPT_INDENT_2).decode())
        else:
            _tell(answer)
    except KeyboardInterrupt:
        _words.print(f"interrupted; {folder} holds half a history, `spotcheck demo` makes it anew", markup=False)
        raise typer.Exit(_INTERRUPTED) from None


def live(folder: Path, history: History) -> dict[str, Any]:
    """Live through a history in a folder.

    Args:
        folder: A new one, an empty one, or one that a demo made.
        history: Told night by night.

    Returns:
        The answer of `--json`, but for the seconds it took.

    Raises:
        SettingsError: The folder is not a demo's.
    """
    text = place.prepare(folder, history.seed, history.nights[-1])
    with JudgeServer(judge(history.truths)) as server:
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
            with _bar(len(history.nights)) as on_night, working(settings):
                found = replay(project, history, on_night)
            answer = outcome(project, history, found)
            answer |= {"runs": on_night.runs, "sampled": on_night.sampled, "folder": str(folder)}
            answer["example_run"] = _example(project, history)
            answer["report"] = _report(project, folder, history.nights[-1])
        finally:
            project.store.close()
    return answer


class _OnNight:
    """Shows how far the replay is, and remembers it."""

    def __init__(self, bars: Bars, nights: int) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=nights)
        self.runs = self.sampled = 0

    def __call__(self, done: Progress) -> None:
        self.runs, self.sampled = done.runs, done.sampled
        said = f"{done.night:%d %b}  {done.runs:,} runs, {done.sampled:,} judged"
        self._bars.update(self._task, completed=done.nights, description=said)


class _Log(logging.Handler):
    """Shows what the product logs, its alerts above all, above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        _words.print(f"  {record.getMessage()}", markup=False)


@contextmanager
def _bar(nights: int) -> Iterator[_OnNight]:
    """A progress bar on stderr, and the alerts as they come; without a terminal only the alerts."""
    _words.print(f"living through {WEEKS} made-up weeks, night by night, with a simulated judge …")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    log, shown = logging.getLogger("spotcheck"), _Log(logging.WARNING)
    before = log.propagate, log.level
    log.propagate = False
    log.setLevel(logging.WARNING)  # Celery sets the root's to ERROR
    log.addHandler(shown)
    try:
        with Bars(*columns, console=_words, transient=True, disable=not _words.is_terminal) as bars:
            yield _OnNight(bars, nights)
    finally:
        log.removeHandler(shown)
        log.propagate = before[0]
        log.setLevel(before[1])


def _example(project: Project, history: History) -> str | None:
    """A run that the judge failed after quality fell: the one to read first; None when there is none."""
    drop = next(one for one in history.planted if one.what == QUALITY_DROP)
    rubrics = [each.pk for each, _ in project.scorers.register() if each.key.name == RUBRIC]
    with project.store.read() as connection:
        worst = stored.lowest_scored(connection, drop.night, history.nights[-1], rubrics, drop.task_type, 1)
        names = stored.identities(connection, [pk for pk, _ in worst])
    return next((run_id for run_id, _ in names.values()), None)


def _report(project: Project, folder: Path, last: date) -> str:
    """Write the weekly review of the newest week, as `spotcheck report --html` would; where it lies."""
    path = folder / place.REPORT
    found = gather(project, ReportRequest(), morning_after(last))
    page = report_html.render(found, is_redacted=project.settings.scoring.redact)
    path.write_text(page, encoding="utf-8")
    return str(path)


def _tell(answer: dict[str, Any]) -> None:
    say = Console(highlight=False, soft_wrap=True, emoji=False).print

    def line(text: str = "") -> None:
        say(text, markup=False)

    line(f"{answer['runs']:,} runs, {answer['sampled']:,} drawn and judged, in {answer['seconds']:.0f} s")
    line()
    line(f"$ spotcheck trends --scorer {RUBRIC}")
    line(_trends(Path(answer["folder"])))
    line()
    tell.findings(answer, line)
    line()
    tell.traffic(answer["mix"], line)
    tell.ledger(answer, line)
    line()
    tell.next_steps(answer, place.elsewhere(os.environ), place.call(Path(answer["folder"])), line)


def _trends(folder: Path) -> str:
    """What the command prints there: the same process that a reader would start, without this shell's settings."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTCHECK_", "OPENAI_"))}
    if sys.stdout.isatty():
        mine["COLUMNS"] = str(Console().width)
    command = [sys.executable, "-m", "worker", "trends", "--scorer", RUBRIC]
    done = subprocess.run(command, cwd=folder, env=mine, capture_output=True, text=True, check=False)  # noqa: S603
    return (done.stdout or done.stderr).rstrip()
