"""The judge engine end to end: Celery, ledger, judge and write-back, on PostgreSQL + Redis, against a fast mock.

    python -m bench.judge_engine                       # fault-free: 5,000 items, 300 ms, 2 processes, 100 calls
    python -m bench.judge_engine --scenario faults     # 5 % 429, 2 % 500, resets, malformed, cut, truncated, hangs
    python -m bench.judge_engine --scenario limit      # a hard limit of 50 requests a second
    python -m bench.judge_engine --scenario quota      # the same limit, known to the workers as a quota
    python -m bench.judge_engine --scenario all --rounds 3
    python -m bench.judge_engine --scenario all --rounds 3 --peers --peer-venv PEERS    # beside `bench.judge_peers`
    python -m bench.judge_engine --scenario memory     # 20,000 items at 50 ms: does it grow?

Needs ../shared/bench/mock_openai.py. Items a second are from the moment the jobs are in the ledger to the last one
settled, workers being up; how long those took to start is told apart. CPU is that of the worker processes, children
included; the servers' and the endpoint's is not in it. A bare `AsyncOpenAI.chat.completions.create` loop, and the peers
where they are asked for, take the same prompts against the same endpoint, in turn with ours, round by round.
"""

import argparse
import contextlib
import io
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import func, select

from bench import judge_peers
from bench.endpoint import config, mock, stats
from bench.judge_peers import Peer
from bench.memory import HEAD, Memory
from tests.support import servers
from tests.support.processes import environment
from worker.connectors.sources import jsonl
from worker.connectors.sources.source import Rejected
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import take
from worker.pipeline.reconcile import wake_due
from worker.project.project import Project
from worker.records import Question
from worker.scorers.rubric.scorer import RubricScorer
from worker.settings import Settings
from worker.store.queue import workers
from worker.store.runs import runs as stored_runs
from worker.store.tables import JobRow, RunRow, ScoreRow, core

MODEL = "mock"
NIGHT = date(2026, 11, 20)
DONE_S = 900.0
job, score = core(JobRow), core(ScoreRow)
FAULTS = {
    "rate_429": 0.05,
    "rate_500": 0.02,
    "rate_reset": 0.01,
    "rate_malformed": 0.01,
    "rate_badjson": 0.01,
    "rate_truncated": 0.01,
    "rate_cut": 0.01,
    "rate_hang": 0.001,
}
SCENARIOS: dict[str, dict[str, float]] = {
    "plain": {},
    "faults": FAULTS,
    "limit": {"limit_rps": 50.0},
    "quota": {"limit_rps": 50.0},
}
SETTINGS = {"quota": "[judge.quota]\nrequests_per_minute = 3000\n"}
"""What a scenario's workers are told beside; the limit that others find by trying."""


class Told(NamedTuple):
    """What one round did."""

    seconds: float
    start_s: float
    cpu_ms: float
    """Of all worker processes, an item."""
    states: dict[str, int]
    reasons: dict[str, int]
    requests: int
    scores: int
    peak_mb: float
    names: dict[int, str]
    """What each process was."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=(*SCENARIOS, "all", "memory"), default="plain")
    parser.add_argument("--items", type=int, help="5,000; for memory 20,000")
    parser.add_argument("--latency-ms", type=float, help="300; for memory 50")
    parser.add_argument("--calls", type=int, default=100, help="calls under way, all processes together")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--timeout-s", type=float, default=4.0, help="[judge] timeout_s")
    parser.add_argument("--answers-days", type=int, default=7, help="[judge] answers_days; 0 keeps no answer")
    parser.add_argument("--peers", action="store_true", help="measure autoevals and Phoenix evals in the same run")
    parser.add_argument("--peer-venv", type=Path, help="where they are installed; see bench/judge_peers.py")
    parser.add_argument("--peer-most-s", type=float, default=240.0, help="a peer that takes longer is stopped")
    options = parser.parse_args()
    if options.peers and options.peer_venv is None:
        parser.error("--peers needs --peer-venv; how to make one stands in bench/judge_peers.py")
    is_memory = options.scenario == "memory"
    options.items = options.items or (20_000 if is_memory else 5_000)
    options.latency_ms = options.latency_ms or (50.0 if is_memory else 300.0)
    with servers.postgres() as database, servers.redis() as fresh, mock(options.latency_ms) as url:
        broker = fresh()  # one for all rounds: Celery keeps the first that it is shown
        print(
            f"{options.items:,} items, {options.latency_ms:g} ms, {options.calls} calls under way,"
            f" {options.processes} processes; ideal {1000 * options.calls / options.latency_ms:,.0f} a second\n"
        )
        if is_memory:
            memory(options, url, database(), broker)
            return
        print("| | items/s | wall s | CPU ms an item | requests an item | peak MB | start-up s | outcome |")
        print("|---|--:|--:|--:|--:|--:|--:|---|", flush=True)
        names = list(SCENARIOS) if options.scenario == "all" else [options.scenario]
        asked = asked_of_peers(options, url)
        for name in names:
            compare(name, options, url, database, broker, asked)


def compare(
    name: str, options: argparse.Namespace, url: str, database: Callable[[], str], broker: str, asked: dict[str, Any]
) -> None:
    """One scenario, ours and the others in turn."""
    faults = dict.fromkeys((*FAULTS, "limit_rps"), 0.0) | SCENARIOS[name]
    ours: list[Told] = []
    beside = ["create"] if options.peers or name == "plain" else []
    others: dict[str, list[Peer]] = {each: [] for each in (*beside, *(judge_peers.PEERS if options.peers else ()))}
    for _ in range(options.rounds):
        config(url, faults)
        ours.append(measure(options, url, database(), broker, beside=SETTINGS.get(name, "")))
        print(row(f"ours, {name}", options.items, ours[-1]), flush=True)
        for each, rounds in others.items():
            python = sys.executable if each == "create" else str(options.peer_venv / "bin" / "python")
            config(url, dict.fromkeys(faults, 0.0))
            given = {**asked, "faults": faults}
            rounds.append(judge_peers.measure(each, python, given, lambda: int(stats(url)["requests"])))
            print(peer_row(f"{each}, {name}", rounds[-1]), flush=True)
    if options.rounds < 2:
        return
    speed = statistics.median(options.items / one.seconds for one in ours)
    cpu_ms = statistics.median(one.cpu_ms for one in ours)
    print(f"| **ours, {name}, median** | **{speed:.0f}** | | **{cpu_ms:.2f}** | | | | |")
    for each, rounds in others.items():
        middle = judge_peers.medians(rounds)
        ratios = f"ours: {speed / middle.per_second:.2f} × the items/s, {cpu_ms / middle.cpu_ms:.2f} × the CPU"
        print(
            f"| **{each}, {name}, median** | {middle.per_second:.0f} | | {middle.cpu_ms:.2f} | | | | {ratios} |",
            flush=True,
        )


def memory(options: argparse.Namespace, url: str, database: str, broker: str) -> None:
    """Whether the workers grow."""
    config(url, dict.fromkeys((*FAULTS, "limit_rps"), 0.0))
    seen = Memory()
    told = measure(options, url, database, broker, seen)
    print(HEAD)
    print("\n".join(seen.rows(told.names)))
    print(f"\n{row('memory', options.items, told)}")


def asked_of_peers(options: argparse.Namespace, url: str) -> dict[str, Any]:
    """What the others are given: our prompts, as system and user message."""
    questions = _questions(options.items)
    by_role = [{each.role: each.content for each in one.messages} for one in questions]
    schema = orjson.loads(orjson.dumps(questions[0].answer_schema, default=dict))
    return {
        "url": f"{url}/v1",
        "model": MODEL,
        "calls": options.calls,
        "timeout_s": options.timeout_s,
        "most_s": options.peer_most_s,
        "items": [[one["system"], one["user"]] for one in by_role],
        "schema": schema,
        "max_tokens": questions[0].max_output_tokens,
    }


def peer_row(name: str, peer: Peer) -> str:
    """A line of the table."""
    bad = sum(peer.errors.values())
    why = "; ".join(f"{count} {error}" for error, count in sorted(peer.errors.items()))
    cut = f", stopped after {peer.seconds:.0f} s" if peer.is_cut else ""
    figures = (
        f"{peer.per_second:.0f} | {peer.seconds:.1f} | {peer.cpu_ms:.2f} | {peer.requests / max(1, peer.done):.3f}"
    )
    told_of = f"{peer.done - bad:,} verdicts, {bad} errors{f' ({why})' if why else ''}{cut}; {peer.version}"
    return f"| {name} | {figures} | {peer.peak_mb:.0f} | {peer.start_s:.1f} | {told_of} |"


def row(name: str, items: int, told: Told) -> str:
    """A line of the table."""
    lost = items - sum(told.states.values())
    outcome = ", ".join(f"{count:,} {state}" for state, count in sorted(told.states.items()))
    why = "; ".join(f"{count} {reason}" for reason, count in sorted(told.reasons.items()))
    twice = "" if told.scores == items else f", {told.scores:,} SCORES"
    figures = f"{items / told.seconds:.0f} | {told.seconds:.1f} | {told.cpu_ms:.2f} | {told.requests / items:.3f}"
    told_of = f"{outcome}{f' ({why})' if why else ''}, {lost} lost{twice}"
    return f"| {name} | {figures} | {told.peak_mb:.0f} | {told.start_s:.1f} | {told_of} |"


def measure(
    options: argparse.Namespace, url: str, database: str, broker: str, seen: Memory | None = None, beside: str = ""
) -> Told:
    """One round in a database of its own, with more settings beside the usual ones."""
    with tempfile.TemporaryDirectory(prefix="engine-") as name, ExitStack() as ends:
        folder = Path(name)
        toml = (
            "[sampling]\nrate = 1.0\n[scoring]\nheuristics = []\n"
            f"[judge]\nconcurrency = {options.calls // options.processes}\ntimeout_s = {options.timeout_s}\n"
            f"answers_days = {options.answers_days}\n"
            f'[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 0.1\noutput_usd_per_mtok = 0.4\n{beside}'
        )
        (folder / "spotcheck.toml").write_text(toml)
        urls = {
            "SPOTCHECK_DATABASE_URL": database,
            "SPOTCHECK_BROKER_URL": broker,
            "SPOTCHECK_JUDGE_MODEL": MODEL,
            "OPENAI_BASE_URL": f"{url}/v1",
        }
        project = Project(Settings.read(urls, toml)).open()
        ends.callback(project.store.close)
        now = datetime.now(UTC)
        lines = io.BytesIO(b"".join(documents(options.items)))
        take(project, jsonl.read(lines, now=now, limits=project.settings.intake), now, on_rejected=_refuse)
        environ = environment(str(folder), urls)
        began = time.monotonic()
        pids = [ends.enter_context(worker(folder, environ, number)) for number in range(options.processes)]
        until(lambda: alive(project) >= options.processes, 60)
        start_s = time.monotonic() - began
        from worker import celery  # the app keeps the first broker it is given: only here, after all is known

        celery.use(project.settings)
        draw_night(project, NIGHT, now)
        cpu, since = cpu_s(pids), time.monotonic()
        wake_due(project, celery.wake)

        def is_done() -> bool:
            left = open_jobs(project)
            if seen is not None:
                seen.look(tree(pids), options.items - left)
            return left == 0

        until(is_done, DONE_S, on_wait=lambda: wake_due(project, celery.wake))
        seconds, used = time.monotonic() - since, cpu_s(pids) - cpu
        with project.store.read() as connection:
            by = connection.execute(select(job.c.state, job.c.reason, func.count()).group_by(job.c.state, job.c.reason))
            states: dict[str, int] = {}
            reasons: dict[str, int] = {}
            for state, reason, count in by:
                states[state] = states.get(state, 0) + count
                if state != "scored":
                    reasons[str(reason)[:40]] = reasons.get(str(reason)[:40], 0) + count
            scores = connection.execute(select(func.count()).where(score.c.criterion.is_(None))).scalar_one()
        peak = max(peak_mb(pid) for pid in tree(pids))
        requests = stats(url)["requests"]
        names = {pid: "worker" if pid in pids else "its child" for pid in tree(pids)}
        return Told(seconds, start_s, 1000 * used / options.items, states, reasons, requests, scores, peak, names)


def documents(count: int) -> Iterator[bytes]:
    """Runs whose prompts are about 4 kB."""
    for number in range(count):
        ended = datetime(NIGHT.year, NIGHT.month, NIGHT.day, 6, tzinfo=UTC) + timedelta(seconds=number % 50_000)
        yield orjson.dumps(
            {
                "run_id": f"item-{number}",
                "task_type": "refund",
                "status": "completed",
                "ended_at": ended.isoformat(),
                "input": f"Order {number}: please refund the lamp that came broken. " * 8,
                "output": f"I have refunded order {number}; the money arrives in three days. " * 8,
                "steps": [
                    {"kind": "tool", "name": "issue_refund", "arguments": {"order": number}, "result": "issued " * 40}
                ],
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )


def _refuse(rejected: Rejected) -> None:
    raise AssertionError(rejected)


@contextmanager
def worker(folder: Path, environ: dict[str, str], number: int) -> Iterator[int]:
    """A judge worker of one process."""
    command = [sys.executable, "-m", "worker", "worker", "-Q", "judge", "-c", "1", "-n", f"judge-{number}@bench"]
    with (folder / f"worker-{number}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        said = (folder / f"worker-{number}.log").read_text()
        if "Traceback" in said or "Event loop" in said:
            print(said[-3_000:], file=sys.stderr)


def alive(project: Project) -> int:
    """Workers that were seen."""
    with project.store.read() as connection:
        return len(workers.live_workers(connection, project.store.now(connection)))


def open_jobs(project: Project) -> int:
    """Jobs without an outcome."""
    with project.store.read() as connection:
        statement = select(func.count()).where(job.c.state.in_(("queued", "leased")))
        return int(connection.execute(statement).scalar_one())


def until(condition: Any, most_s: float, on_wait: Any = None) -> None:
    """Wait; every half minute `on_wait` stands for beat."""
    began = waked = time.monotonic()
    while not condition():
        if time.monotonic() - began > most_s:
            raise TimeoutError(f"not within {most_s:g} s")
        if on_wait is not None and time.monotonic() - waked > 30:
            waked = time.monotonic()
            on_wait()
        time.sleep(0.1)  # looked at again: the workers are processes of their own


def tree(pids: Sequence[int]) -> list[int]:
    """These processes and their children."""
    found = list(pids)
    for pid in pids:
        found += [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of these processes and their living children."""
    ticks = 0
    for pid in tree(pids):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Most memory that a process had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def _questions(count: int) -> list[Question]:
    with tempfile.TemporaryDirectory() as folder:
        urls = {
            "SPOTCHECK_DATABASE_URL": f"sqlite:///{folder}/x.db",
            "SPOTCHECK_JUDGE_MODEL": MODEL,
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        }
        project = Project(Settings.read(urls, "[scoring]\nheuristics = []\n")).open()
        now = datetime.now(UTC)
        take(
            project,
            jsonl.read(io.BytesIO(b"".join(documents(count))), now=now, limits=project.settings.intake),
            now,
            on_rejected=_refuse,
        )
        run = core(RunRow)
        with project.store.read() as connection:
            pks = list(connection.execute(select(run.c.pk)).scalars())
            loaded = stored_runs.load(connection, pks)
        scorer = next(one for one in project.scorers.all if isinstance(one, RubricScorer))
        questions = [scorer.builder.question(each.for_scorer()) for each in loaded.values()]
        project.store.close()
        return questions


if __name__ == "__main__":
    main()
