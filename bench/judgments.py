"""What storing the prompts and the answers of judges takes: bytes a score, and time of a night with and without.

    python -m bench.judgments RUNS.jsonl.gz                 # both stores, 500 runs, three rounds
    python -m bench.judgments RUNS.jsonl.gz --store sqlite --limit 2000 --rounds 5

RUNS is a file of runs such as ../shared/data/runs.jsonl.gz; what it says of the truth is taken out, and all runs end in
one night, which is drawn whole and scored by all heuristics and `task_completion`. The judge, in a process of its own,
answers at once, so that nothing hides behind its latency; of each criterion it quotes the run and gives a reason of
some 150 characters, as real judges do. Each round scores two copies of the same drawn night, with and without, in turn,
each in a process of its own; the least time is the one that other work disturbed least. CPU is that of the scoring
process, PostgreSQL's own is not in it.
"""

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import func, select, text

from bench.story import KNOWN_ONLY_HERE
from tests.support import servers, stores
from tests.support.project import draw_nights, ingest
from worker.demo.judge.server import Answer, JudgeServer, completion
from worker.jobs import in_flight
from worker.jobs.processor import JobProcessor
from worker.pipeline.nightly import finish, wait_for_scores
from worker.project.project import Project
from worker.scorers.rubric.judgment import unpack
from worker.settings import Settings
from worker.store.tables import BlobRow, JobRow, JudgmentRow, ScoreRow, core

NIGHT = date(2026, 9, 7)
MODEL = "simulated-judge"
TOML = '[sampling]\nrate = 1.0\n[judge]\nunknown_price = "allow"\n'
TABLES = ("judgment", "blob", "score", "job", "payload", "answer")

judgment, blob, job, score = core(JudgmentRow), core(BlobRow), core(JobRow), core(ScoreRow)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?")
    parser.add_argument("--store", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--limit", type=int, default=500, help="runs, evenly taken from the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--night", nargs=3, metavar=("DATABASE", "JUDGE", "KEEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge:
        serve()
    elif options.night:
        database, judge, keeps = options.night
        print(orjson.dumps(score_night(database, judge, keeps=keeps == "with")).decode())
    elif options.runs is None:
        parser.error("name a file of runs")
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Every store asked for, round by round."""
    documents = list(some_runs(options.runs, options.limit))
    print(f"{len(documents):,} runs, one night, {options.rounds} rounds\n", flush=True)
    with ExitStack() as ends:
        judge = ends.enter_context(a_judge())
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="judgments-")))
        for kind in ("sqlite", "postgresql") if options.store == "both" else (options.store,):
            copies = ends.enter_context(drawn(kind, folder, documents, judge))
            told: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
            for number in range(options.rounds):
                for keeps in ("with", "without") if number % 2 else ("without", "with"):
                    command = [sys.executable, "-m", "bench.judgments", "--night", copies(), judge, keeps]
                    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
                    told[keeps].append(orjson.loads(said.splitlines()[-1]))
            report(kind, told)


def report(kind: str, told: Mapping[str, list[dict[str, Any]]]) -> None:
    """A store's figures, in Markdown."""
    sizes = told["with"][-1]["sizes"]
    print(f"{kind}: {sizes['scores']:,} scores of the judge, {sizes['jobs']:,} jobs\n")
    print("| | median | mean | largest |\n|---|--:|--:|--:|")
    for name in ("prompt", "answer", "stored"):
        print(f"| {name}, bytes | {sizes[name][0]:,.0f} | {sizes[name][1]:,.0f} | {sizes[name][2]:,.0f} |")
    print(f"\nstatic part, once: {sizes['static']:,} bytes; tables, bytes a judge's score: {sizes['tables']}\n")
    print(
        "| | without: s, median (least) | with: s | ratio of medians, of the least (each round's) |\n|---|--:|--:|--:|"
    )
    for name in ("cpu_s", "wall_s"):
        without, kept = ([one[name] for one in told[keeps]] for keeps in ("without", "with"))
        said = [f"{statistics.median(times):.2f} ({min(times):.2f})" for times in (without, kept)]
        ratios = sorted(one / other for one, other in zip(kept, without, strict=True))
        middle, least = statistics.median(kept) / statistics.median(without), min(kept) / min(without)
        said.append(f"{middle:.3f}, {least:.3f} ({ratios[0]:.3f}–{ratios[-1]:.3f})")
        print(f"| {name} | {' | '.join(said)} |")
    print(flush=True)


def some_runs(path: Path, limit: int) -> Iterator[dict[str, Any]]:
    """At most so many runs of a file, evenly taken, on one night, without what they say of the truth."""
    with gzip.open(path, "rb") as stream:
        lines = stream.read().splitlines()
    step = max(1, len(lines) // limit)
    for raw in lines[::step][:limit]:
        document = orjson.loads(raw)
        kept = {name: value for name, value in document.items() if name not in KNOWN_ONLY_HERE}
        ended = datetime(NIGHT.year, NIGHT.month, NIGHT.day, 14, tzinfo=UTC)
        yield kept | {"started_at": None, "ended_at": ended.isoformat(), "status": "completed"}


def a_project(database: str, judge: str) -> Project:
    """A project on a database that asks this judge."""
    environ = {
        "SPOTCHECK_DATABASE_URL": database,
        "SPOTCHECK_JUDGE_MODEL": MODEL,
        "OPENAI_BASE_URL": judge,
        "SPOTCHECK_JUDGE_CONCURRENCY": "16",
    }
    return Project(Settings.read(environ, TOML)).open()


@contextmanager
def drawn(kind: str, folder: Path, documents: list[dict[str, Any]], judge: str) -> Iterator[Callable[[], str]]:
    """A database with the runs, their night drawn and nothing scored; each call gives a copy of its own."""
    with ExitStack() as ends:
        databases = ends.enter_context(servers.postgres()) if kind == "postgresql" else None
        made = stores.sqlite_url(folder) if databases is None else databases()
        project = a_project(stores.migrate(made), judge)
        ingest(project, documents)
        draw_nights(project, [NIGHT])
        project.store.close()
        count = 0

        def copy() -> str:
            nonlocal count
            count += 1
            if databases is not None:
                return databases(made)
            own = folder / str(count)
            own.mkdir()
            shutil.copyfile(folder / stores.NAME, own / stores.NAME)
            return stores.sqlite_url(own)

        yield copy


def score_night(database: str, judge: str, *, keeps: bool) -> dict[str, Any]:
    """Score, summarise and compare the night; what that took, and what it left."""
    if not keeps:
        # to measure without: nothing is kept of a call
        in_flight.judgment_of = lambda *_: None  # type: ignore[attr-defined]
    project = a_project(database, judge)
    wall, cpu = time.perf_counter(), time.process_time()
    with JobProcessor(project) as processor:
        waited = wait_for_scores(project, processor, lambda lane, due: None, stop=lambda: False)
    finish(project, datetime.now(UTC))
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    assert waited.still_open == 0, waited
    answer = took | ({"sizes": sizes(project)} if keeps else {})
    project.store.close()
    return answer


def sizes(project: Project) -> dict[str, Any]:
    """Bytes of prompts and answers, as they went and as they are stored."""
    with project.store.read() as connection:
        rows = connection.execute(
            select(judgment.c.body, blob.c.body.label("static")).join(blob, blob.c.sha == judgment.c.static_sha)
        ).all()
        jobs = connection.execute(select(func.count()).select_from(job)).scalar_one()
        scores = connection.execute(
            select(func.count()).where(score.c.criterion.is_(None), score.c.model_requested.is_not(None))
        ).scalar_one()
        tables = {name: round(_table_bytes(connection, name) / max(1, len(rows))) for name in TABLES}
    prompts, answers = [], []
    for row in rows:
        for call in unpack(row.body, row.static).calls:
            prompts.append(sum(len(message.content.encode("utf-8", "replace")) for message in call.messages))
            answers.append(len(((call.reply or {}).get("content") or "").encode()))
    assert len(rows) == scores, "a judgment for each score of the judge"
    return {
        "scores": scores,
        "jobs": jobs,
        "prompt": _spread(prompts),
        "answer": _spread(answers),
        "stored": _spread([len(row.body) for row in rows]),
        "static": sum({len(row.static) for row in rows}),
        "tables": tables,
    }


def _table_bytes(connection: Any, name: str) -> int:
    """What a table takes with its indexes."""
    if connection.dialect.name == "postgresql":
        return int(connection.execute(text(f"SELECT pg_total_relation_size('{name}')")).scalar_one())
    statement = text(
        "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = :name)"
    )
    return int(connection.execute(statement, {"name": name}).scalar_one() or 0)


def _spread(values: list[int]) -> tuple[float, float, float]:
    return statistics.median(values), statistics.mean(values), max(values)


@contextmanager
def a_judge() -> Iterator[str]:
    """The judge in a process of its own; gives its address."""
    command = [sys.executable, "-m", "bench.judgments", "--judge"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def serve() -> None:
    """Answer until terminated."""
    with JudgeServer(verdict) as server:
        print(server.base_url, flush=True)
        while os.getppid() != 1:
            time.sleep(1.0)  # it serves until its parent is gone


def verdict(request: dict[str, Any], _: Mapping[str, str]) -> Answer:
    """A verdict with a quote and a reason for each criterion, from the run's own words."""
    prompt = request["messages"][-1]["content"]
    _, _, shown = prompt.partition('"output":')
    words = shown[1:].encode("ascii", "ignore").decode().replace("\\n", " ").replace("\\", "").replace('"', "")
    criteria = request["response_format"]["json_schema"]["schema"]["properties"]
    said = {
        name: {
            "evidence": [{"step": 1 + place, "quote": words[80 * place : 80 * place + 70]}],
            "reason": f"By its own record, {name} can be told from what was answered: {words[40 * place :][:100]}",
            "verdict": "pass" if (len(prompt) + place) % 4 else "fail",
        }
        for place, name in enumerate(criteria)
    }
    return completion(orjson.dumps(said).decode(), prompt=prompt, model=f"{MODEL}-2026-11")


if __name__ == "__main__":
    main()
