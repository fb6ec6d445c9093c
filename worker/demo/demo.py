"""`spotcheck demo`: the real corridor on made-up runs, in one folder, without a key or a server.

Everything is real but the runs and the judge: the same ingest, draw, Celery worker (in this process), openai client
over HTTP, ledger, trends and drift. The judge is simulated: a loopback server that knows the made-up truth, with noise.
"""

import io
import re
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from celery.worker import state as worker_state
from rich.console import Console

from worker import celery
from worker.core.calendar import nights_between
from worker.demo.history import History, make
from worker.demo.judge_server import Answer, JudgeServer, simulated_verdict
from worker.errors import SettingsError
from worker.flow.desk import Desk
from worker.flow.draw import draw_night
from worker.flow.nightly import finish, wait_for_scores
from worker.flow.project import Project
from worker.flow.take import take
from worker.ingest import jsonl
from worker.records import Drift
from worker.settings import Settings
from worker.store import counts, runs

MODEL = "simulated-judge"
NOISE = 0.04
"""How often the simulated judge is wrong."""
TOML = """\
[sampling]
rate = 0.3
[judge]
concurrency = 32
unknown_price = "allow"
[judge.prices."simulated-judge"]
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.4
"""
_CASE = re.compile(r"case-[0-9a-f]{10}")
_words = Console(stderr=True, highlight=False, soft_wrap=True)


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where everything goes; made anew.")] = Path("spotcheck-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Another number, another history.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The same answer for machines.")] = False,
) -> None:
    """Eight weeks of a made-up support agent through the real corridor: no key, no server, about a minute.

    Examples: spotcheck demo · spotcheck demo --seed 7 --json
    """
    began = time.monotonic()
    database = folder / "spotcheck.db"
    if folder.exists() and any(folder.iterdir()) and not database.exists():
        raise SettingsError(f"{folder} is not a demo's folder; name another with --dir")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("spotcheck.db*"):
        old.unlink()
    now = datetime.now(UTC)
    history = make(seed, (now - timedelta(days=1)).date())
    with JudgeServer(_judge(history)) as server:
        (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
        settings = Settings.read(
            {
                "SPOTCHECK_DATABASE_URL": f"sqlite:///{database}",
                "SPOTCHECK_BROKER_URL": "memory://",
                "SPOTCHECK_JUDGE_MODEL": MODEL,
                "OPENAI_BASE_URL": server.base_url,
            },
            TOML,
        )
        project = Project(settings).open()
        try:
            answer = _run(project, history, now)
        finally:
            project.store.close()
    answer["folder"], answer["seconds"] = str(folder), round(time.monotonic() - began, 1)
    if as_json:
        typer.echo(orjson.dumps(answer, default=str, option=orjson.OPT_INDENT_2).decode())
    else:
        _tell(answer)


def _judge(history: History) -> Any:  # noqa: ANN401 an Answerer of the judge server
    def p_pass(prompt: str) -> float:
        case = _CASE.search(prompt)
        good = history.is_good.get(case.group(), False) if case else False
        return 1 - NOISE if good else NOISE

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        del headers
        return simulated_verdict(request, p_pass)

    return answer


def _run(project: Project, history: History, now: datetime) -> dict[str, Any]:
    lines = io.BytesIO(b"\n".join(orjson.dumps(run) for run in history.runs))
    tally = take(project, jsonl.read(lines, now=now, limits=project.settings.intake), now, on_rejected=_complain)
    with project.store.read() as connection:
        span = runs.span(connection)
    assert span is not None
    nights = [night for night in nights_between(*span) if night <= project.last_over(now)]
    _words.print(f"took in {tally.accepted:,} made-up runs over {len(nights)} nights")
    project.first_tick(now)
    with celery_worker(project.settings), Desk(project) as desk:
        sampled = sum(stratum.sampled for night in nights for stratum in draw_night(project, night, now))
        _words.print(f"drew {sampled:,}; scoring them in Celery jobs with the simulated judge …")
        wait_for_scores(project, desk, celery.wake, stop=lambda: False)
    found = finish(project, now)
    with project.store.read() as connection:
        rows = counts.counts(connection, nights[0], nights[-1], [each for each, _ in project.register()], None)
    return {
        "runs": tally.accepted,
        "sampled": sampled,
        "planted": [one._asdict() for one in history.planted],
        "found": [_found(one) for one in found],
        "false_alarms": sum(1 for one in found if not _is_planted(one, history)),
        "reconciles": all(row.reconciles for row in rows),
        "judge": "simulated",
    }


def _complain(rejected: jsonl.Rejected) -> None:
    _words.print(f"line {rejected.number}: {rejected.reason}", markup=False)


def _found(one: Drift) -> dict[str, Any]:
    return {
        "what": one.kind,
        "task_type": one.stream.task_type,
        "scorer": one.stream.scorer,
        "night": one.found_night,
        "before": round(one.before, 3),
        "after": round(one.after, 3),
        "chance_per_year": one.chance_per_year,
    }


def _is_planted(one: Drift, history: History) -> bool:
    """A drop of the planted task type, or of the overall line that holds it, after it was planted."""
    return any(
        one.found_night >= planted.night and one.stream.task_type in (planted.task_type, None)
        for planted in history.planted
    )


@contextmanager
def celery_worker(settings: Settings) -> Iterator[None]:
    """A Celery worker for all lanes in a thread of this process, on the in-process broker."""
    celery.use(settings)
    warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")  # nothing but the demo runs in it
    worker = celery.app.Worker(
        pool="solo",
        concurrency=1,
        queues=list(celery.QUEUES.values()),
        without_heartbeat=True,
        without_gossip=True,
        without_mingle=True,
        loglevel="ERROR",
        quiet=True,
    )
    thread = threading.Thread(target=worker.start, name="spotcheck-worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker_state.should_stop = 0
        thread.join(timeout=15)
        worker_state.should_stop = None


def _tell(answer: dict[str, Any]) -> None:
    say = Console(highlight=False, soft_wrap=True).print
    say(f"{answer['runs']:,} runs, {answer['sampled']:,} scored by the simulated judge, in {answer['seconds']} s")
    for planted in answer["planted"]:
        say(f"planted: {planted['what']} in {planted['task_type']} from {planted['night']}")
    _found_lines(answer["found"], say)
    say(f"false alarms: {answer['false_alarms']} · every run accounted for: {'yes' if answer['reconciles'] else 'NO'}")
    say(f"\nlook around: cd {answer['folder']}, then")
    for command in (
        "spotcheck trends --scorer task_completion",
        "spotcheck drift",
        "spotcheck runs --task-type refund",
    ):
        say(f"  {command}")


def _found_lines(found: Sequence[dict[str, Any]], say: Any) -> None:  # noqa: ANN401 a print
    for one in found:
        where = one["task_type"] or "all task types, same mix"
        say(f"found:   {one['scorer']} in {where} on {one['night']}: {one['before']:.2f} → {one['after']:.2f}")
    if not found:
        say("found:   nothing")
