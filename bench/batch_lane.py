"""Ten thousand jobs through the batch lane, with its workers killed again and again, and batches that end badly.

    python -m bench.batch_lane                     # 10,000 jobs, batches of 2,500, a kill every few seconds
    python -m bench.batch_lane --jobs 2000 --database sqlite

The server is tests/support/batch_server.py in this process: the first batch is answered in full, the second expires
with 60 % answered, the third has rows of every bad kind, the fourth fails without a file; what is missing goes through
the synchronous lane. A judge worker and a control worker with beat are real processes; the judge worker is killed
with -9.
Shown are the exact counts, and what the batches cost beside what the same calls cost at once.
"""

import argparse
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import func, select

from bench.judge_engine import NIGHT, documents, open_jobs
from tests.support import servers
from tests.support.batch_server import BatchOffice
from tests.support.processes import environment
from worker.connectors.sources import jsonl
from worker.demo.judge.server import MODEL, Answer, JudgeServer, simulated_verdict
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import take
from worker.project.project import Project
from worker.settings import Settings
from worker.store.budget import accounts
from worker.store.queue import batches
from worker.store.results import counts
from worker.store.tables import JobRow, ScoreRow, core

job, score = core(JobRow), core(ScoreRow)
MOST_S = 1_500.0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=2_500, help="jobs a batch")
    parser.add_argument("--kill-every-s", type=float, default=6.0)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    options = parser.parse_args()
    with ExitStack() as ends:
        judge = ends.enter_context(JudgeServer(_answer))
        office = BatchOffice(judge)
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="batches-")))
        if options.database == "postgresql":
            database = ends.enter_context(servers.postgres())()
            broker = ends.enter_context(servers.redis())()
        else:
            database, broker = f"sqlite:///{folder}/spotcheck.db", f"filesystem://{folder}/broker"
        run(options, office, judge.base_url, folder, {"DATABASE": database, "BROKER": broker})


def run(
    options: argparse.Namespace, office: BatchOffice, base_url: str, folder: Path, addresses: Mapping[str, str]
) -> None:
    """One night."""
    toml = (
        '[sampling]\nrate = 1.0\n[scoring]\nheuristics = []\n[judge]\nlane = "batch"\nconcurrency = 32\n'
        f"[judge.batch]\ngather_s = 0\npoll_s = 2\nmax_jobs = {options.batch}\nmax_bytes = 15_000_000\n"
        f'[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 0.1\noutput_usd_per_mtok = 0.4\n'
    )
    (folder / "spotcheck.toml").write_text(toml)
    urls = {f"SPOTCHECK_{name}_URL": url for name, url in addresses.items()}
    urls |= {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": base_url}
    project = Project(Settings.read(urls, toml)).open()
    now = datetime.now(UTC)
    lines = io.BytesIO(b"".join(documents(options.jobs)))
    take(project, jsonl.read(lines, now=now, limits=project.settings.intake), now, on_rejected=print)
    draw_night(project, NIGHT, now)
    environ = environment(str(folder), urls)
    rng = random.Random(7)
    began = time.monotonic()
    control = start(folder, environ, "control")
    beat = start(folder, environ, "beat")
    worker = start(folder, environ, "judge")
    kills, kill_at = 0, time.monotonic() + options.kill_every_s
    try:
        while open_jobs(project) and time.monotonic() < began + MOST_S:
            time.sleep(0.5)  # looked at again: the workers are processes of their own
            end_batches(office)
            if kills < options.kills and time.monotonic() > kill_at:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
                kills += 1
                kill_at = time.monotonic() + options.kill_every_s * rng.uniform(0.5, 1.5)
                worker = start(folder, environ, "judge")
    finally:
        for process in (worker, beat, control):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    tell(project, options, kills, time.monotonic() - began)
    project.store.close()


def start(folder: Path, environ: dict[str, str], what: str) -> "subprocess.Popen[bytes]":
    """A worker's process group."""
    command = [sys.executable, "-m", "worker"]
    command += ["beat"] if what == "beat" else ["worker", "-Q", what, "-c", "1", "-n", f"{what}@bench"]
    with (folder / f"{what}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True)


def end_batches(office: BatchOffice) -> None:
    """What becomes of each batch, by its number."""
    for number, (name, made) in enumerate(sorted(office.batches.items())):
        if made["status"] != "in_progress":
            continue
        match number % 4:
            case 0:
                office.end(batch_id=name)
            case 1:
                office.end("expired", batch_id=name, only=lambda row: row % 5 < 3)
            case 2:
                office.end(batch_id=name, spoil=_spoil)
            case _:
                made |= {"status": "failed", "errors": {"data": [{"message": "the input file could not be read"}]}}


def _spoil(row: dict[str, Any]) -> list[bytes]:
    good = orjson.dumps(row)
    match hash(row["custom_id"]) % 12:
        case 0:
            return [orjson.dumps(row | {"response": {"status_code": 500, "body": None}})]
        case 1:
            return [good, good, b"no row"]
        case 2:
            return []
        case _:
            return [good]


def _answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    return simulated_verdict(request, lambda prompt: 0.8)


def tell(project: Project, options: argparse.Namespace, kills: int, seconds: float) -> None:
    """The counts and the money."""
    with project.store.read() as connection:
        states: dict[str, int] = {}
        for state, count in connection.execute(select(job.c.state, func.count()).group_by(job.c.state)):
            states[state] = count
        tiers: dict[str, int] = {}
        for tier, count in connection.execute(
            select(func.coalesce(score.c.service_tier, "at once"), func.count())
            .where(score.c.criterion.is_(None))
            .group_by(score.c.service_tier)
        ):
            tiers[tier] = count
        twice = connection.execute(
            select(func.count()).select_from(
                select(score.c.run_pk)
                .where(score.c.criterion.is_(None))
                .group_by(score.c.run_pk)
                .having(func.count() > 1)
                .subquery()
            )
        ).scalar_one()
        done = list(batches.recent_batches(connection, datetime.now(UTC)))
        registered = [each for each, _ in project.scorers.register()]
        reconciles = all(one.reconciles for one in counts.night_counts(connection, NIGHT, NIGHT, registered, NIGHT))
        account = accounts.day_balance(connection, project.nights.of(datetime.now(UTC)))
    print(f"{options.jobs:,} jobs, {kills} kills of the judge worker, {seconds:.0f} s")
    lost = options.jobs - sum(states.values())
    print(f"outcomes: {states}; twice: {twice}; lost: {lost}; reconciles: {reconciles}")
    print(f"bought: {tiers}")
    print("| batch | jobs | ended as | took in | cost $ | at once $ | trouble |\n|--:|--:|---|--:|--:|--:|---|")
    for one in done:
        money_said = f"{one.cost_usd:.4f} | {one.cost_at_once_usd:.4f}"
        print(f"| {one.pk} | {one.jobs} | {one.server_state} | {one.collected} | {money_said} | {one.trouble or ''} |")
    print(f"spent ${account.spent_usd:.4f}, still reserved ${account.reserved_usd:.4f}")


if __name__ == "__main__":
    main()
