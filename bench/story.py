"""The main job on real runs, through the real command line: SQLite + filesystem broker, PostgreSQL + Redis, compared.

Run it from the project's root: `python -m bench.story [--stack sqlite|production|both] [--quick]`.

Input is `../shared/data/runs.jsonl.gz`. What was true of a run (`truth`, `truth_kind`, `truth_detail`, `meta`) is taken
out before ingest and kept here, by run id, for the last table. Nearly all of the runs have no time of their own, so
every run gets one: a hash of its id says which of the 56 nights of the 8 full ISO weeks that end with the last Sunday
before today, and which second of that day.

Every step is `python -m worker …` in a process of its own, in a temporary folder with a `spotcheck.toml`; workers too.
The judge is the simulated one, in this process. Its verdict depends on the run's document alone, without the fence
word, which is keyed by each installation's secret: so both stacks get the same verdicts and can be compared.
"""

import argparse
import gzip
import hashlib
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import select

from tests.support import servers
from tests.support.processes import DONE_S, READY_S, ROOT, ProcessShell, database, environment, stop
from worker.demo.judge.server import MODEL, Answer, JudgeServer, simulated_verdict
from worker.pipeline.nightly import open_jobs
from worker.project.project import Project
from worker.settings import Settings
from worker.store.queue import workers
from worker.store.tables import JobRow, RunRow, SampleRow, ScoreRow, ScorerRow, core

RUNS = ROOT.parent / "shared" / "data" / "runs.jsonl.gz"
WEEKS = 8
QUICK_OF = 6
"""--quick takes every run whose hash is divisible by this."""
KNOWN_ONLY_HERE = ("truth", "truth_kind", "truth_detail", "meta")
P_PASS = 0.7
LATENCY_S = 0.02
_FENCED = re.compile(r"<<<RUN [0-9a-f]{16}>>>\n(.*)\n<<<END RUN", re.DOTALL)
TOML = f"""\
[sampling]
rate = 0.3
[scoring]
rubrics = ["task_completion", "groundedness"]
[scoring.schemas.medagentbench]
type = "array"
[judge]
unknown_price = "allow"
[judge.prices."{MODEL}"]
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.4
"""

run, sample, job, score, scorer = (core(row) for row in (RunRow, SampleRow, JobRow, ScoreRow, ScorerRow))


class History(NamedTuple):
    """The runs as they are ingested, and what was true of them."""

    lines: bytes
    truth: dict[str, float]
    first: date
    last: date


class Stack(NamedTuple):
    """Where it runs, and the arguments of each worker process."""

    name: str
    workers: tuple[tuple[str, ...], ...]


class Told(NamedTuple):
    """What one stack did."""

    stack: str
    walls: dict[str, float]
    jobs: int
    heuristic_jobs: int
    judge_jobs: int
    sampled: frozenset[str]
    heuristics: dict[tuple[str, str], tuple[Any, ...]]
    """Outcome by run id and scorer."""
    verdicts: dict[tuple[str, str, str | None], tuple[Any, ...]]
    """Judge's outcome by run id, rubric and criterion."""
    totals: dict[str, int]
    reconciles: bool
    calls: int
    points: int
    findings: int
    spend_usd: float
    added_by_repeat: int


SQLITE = Stack("SQLite + filesystem", (("-c", "2"),))
PRODUCTION = Stack(
    "PostgreSQL + Redis",
    (
        ("-Q", "judge", "-c", "1", "-n", "judge-1@story"),
        ("-Q", "judge", "-c", "1", "-n", "judge-2@story"),
        ("-Q", "control,heuristics", "-c", "1", "-B", "-n", "control@story"),
    ),
)


def main() -> None:
    """Tell the story and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.story", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stack", choices=("sqlite", "production", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help=f"one run in {QUICK_OF}")
    options = parser.parse_args()
    made = history(RUNS, datetime.now(UTC).date(), one_in=QUICK_OF if options.quick else 1)
    told = []
    if options.stack in ("sqlite", "both"):
        with tempfile.TemporaryDirectory(prefix="story-") as folder:
            told.append(tell(SQLITE, made, Path(folder), {}))
    if options.stack in ("production", "both"):
        with (
            tempfile.TemporaryDirectory(prefix="story-") as folder,
            servers.postgres() as database,
            servers.redis() as broker,
        ):
            urls = {"SPOTCHECK_DATABASE_URL": database(), "SPOTCHECK_BROKER_URL": broker()}
            told.append(tell(PRODUCTION, made, Path(folder), urls))
    print(report(made, told))
    if problems := list(faults(told)):
        sys.exit("\n".join(problems))


def history(path: Path, today: date, *, one_in: int = 1) -> History:
    """The real runs with a time each, deterministic for a given day; truth apart."""
    last = today - timedelta(days=today.isoweekday())
    first = last - timedelta(weeks=WEEKS, days=-1)
    lines, truth = [], {}
    with gzip.open(path, "rb") as stream:
        for raw in stream:
            document = orjson.loads(raw)
            number = int.from_bytes(hashlib.sha256(b"story\0" + document["run_id"].encode()).digest()[:8], "big")
            if number % one_in:
                continue
            truth[document["run_id"]] = document["truth"]
            for name in KNOWN_ONLY_HERE:
                del document[name]
            number //= one_in
            night = first + timedelta(days=number % (7 * WEEKS))
            ended = datetime(night.year, night.month, night.day, tzinfo=UTC)
            ended += timedelta(seconds=number // (7 * WEEKS) % 86_400)
            document |= {"started_at": None, "ended_at": ended.isoformat()}
            lines.append(orjson.dumps(document))
    return History(b"\n".join(lines) + b"\n", truth, first, last)


def verdict(request: dict[str, Any], _: Mapping[str, str]) -> Answer:
    """The simulated judge, blind to the fence word: the same document and question get the same verdict anywhere."""
    *_, asked = request["messages"]
    document = _FENCED.search(asked["content"])
    assert document is not None, "a prompt without a fenced run"
    plain = {**request, "messages": [{"role": "user", "content": document[1]}]}
    return simulated_verdict(plain, lambda _: P_PASS)._replace(delay_s=LATENCY_S)


def tell(stack: Stack, made: History, folder: Path, urls: Mapping[str, str]) -> Told:
    """Ingest, draw and score by the workers, wait, ask; each step timed."""
    print(f"{stack.name} …", file=sys.stderr)
    (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    (folder / "runs.jsonl.gz").write_bytes(gzip.compress(made.lines, 1))
    window = ["--since", str(made.first), "--until", str(made.last)]
    with ExitStack() as ends:
        judge = ends.enter_context(JudgeServer(verdict))
        environ = environment(judge.base_url, urls)
        shell = ProcessShell(folder, environ)
        project = Project(Settings.read(environ | {"SPOTCHECK_DATABASE_URL": database(folder, environ)}, TOML))
        ends.callback(project.store.close)
        taken = shell.timed("ingest", "ingest", "runs.jsonl.gz", "--json")
        assert (taken["accepted"], taken["rejected"]) == (len(made.truth), 0), taken
        ends.enter_context(running(shell, stack, project))
        drawn = shell.timed("draw", "nightly", *window, "--json")
        shell.walls["score"] = until_done(shell, project)
        again = shell.timed("nightly again", "nightly", *window, "--wait", "--json")
        assert again["sampled"] == drawn["sampled"], (drawn, again)
        status = shell.timed("status", "status", *window, "--json")
        points = shell.timed("trends", "trends", "--weeks", str(WEEKS), "--json")["points"]
        findings = shell.timed("drift", "drift", "--all", "--json")["findings"]
        return _gather(stack, project, shell, judge, (status, points, findings), again["open"])


def _gather(
    stack: Stack, project: Project, shell: "ProcessShell", judge: JudgeServer, asked: tuple[Any, ...], repeated: int
) -> Told:
    status, points, findings = asked
    heuristics, verdicts = outcomes(project)
    with project.store.read() as connection:
        lanes = Counter(connection.execute(select(job.c.lane)).scalars())
        ids = select(run.c.run_id).join(sample, sample.c.run_pk == run.c.pk)
        sampled = frozenset(connection.execute(ids).scalars())
    assert not judge.requests.failures, judge.requests.failures
    return Told(
        stack=stack.name,
        walls=shell.walls,
        jobs=lanes.total(),
        heuristic_jobs=lanes["heuristic"],
        judge_jobs=lanes["judge"],
        sampled=sampled,
        heuristics=heuristics,
        verdicts=verdicts,
        totals=status["totals"],
        reconciles=status["reconciles"] and all(row["pending"] == 0 for row in status["scorers"]),
        calls=judge.requests.count,
        points=len(points),
        findings=len(findings),
        spend_usd=status["spend_usd"],
        added_by_repeat=repeated,
    )


@contextmanager
def running(shell: ProcessShell, stack: Stack, project: Project) -> Iterator[None]:
    """The stack's workers, each in a process group of its own, until all were seen alive; stopped by SIGTERM."""
    with ExitStack() as ends:
        log = ends.enter_context((shell.folder / "workers.log").open("ab"))
        started = [
            shell.start("worker", *arguments, stdout=log, stderr=log, start_new_session=True)
            for arguments in stack.workers
        ]
        ends.callback(stop, started)
        began = time.monotonic()
        while time.monotonic() < began + READY_S:
            if any(process.poll() is not None for process in started):
                raise RuntimeError((shell.folder / "workers.log").read_text(encoding="utf-8")[-2000:])
            with project.store.read() as connection:
                if len(workers.live_workers(connection, project.store.now(connection))) == len(started):
                    break
            time.sleep(0.1)  # looked at again until all workers are heard
        else:
            raise RuntimeError("the workers did not come up")
        shell.walls["workers up"] = time.monotonic() - began
        yield
        began = time.monotonic()
        stop(started)
        shell.walls["workers stopped"] = time.monotonic() - began


def until_done(shell: ProcessShell, project: Project) -> float:
    """Seconds until every job is resolved; `score --wait` waits beside us, and finishes the nights."""
    began = time.monotonic()
    with shell.start("score", "--wait", "--json") as waiting:
        while open_jobs(project) and waiting.poll() is None:
            time.sleep(0.1)  # looked at again: the workers are processes of their own
        took = time.monotonic() - began
        answer, _ = waiting.communicate(timeout=DONE_S)
    if waiting.returncode != 0:
        raise RuntimeError(f"spotcheck score --wait ended with {waiting.returncode}: {answer!r}")
    shell.walls["score, summarised"] = time.monotonic() - began
    return took


def outcomes(
    project: Project,
) -> tuple[dict[tuple[str, str], tuple[Any, ...]], dict[tuple[str, str, str | None], tuple[Any, ...]]]:
    """What was stored: heuristics by run and scorer, verdicts by run, rubric and criterion. Twice is an error."""
    said = (score.c.outcome, score.c.value, score.c.reason, score.c.label, score.c.rationale)
    statement = (
        select(scorer.c.kind, run.c.run_id, scorer.c.name, scorer.c.version, score.c.criterion, *said)
        .join(run, run.c.pk == score.c.run_pk)
        .join(scorer, scorer.c.pk == score.c.scorer_pk)
    )
    heuristics: dict[tuple[str, str], tuple[Any, ...]] = {}
    verdicts: dict[tuple[str, str, str | None], tuple[Any, ...]] = {}
    with project.store.read() as connection:
        for kind, run_id, name, version, criterion, *rest in connection.execute(statement):
            if kind == "heuristic":
                assert (run_id, name) not in heuristics, (run_id, name)
                heuristics[run_id, name] = (version, *rest)
            else:
                assert (run_id, name, criterion) not in verdicts, (run_id, name, criterion)
                verdicts[run_id, name, criterion] = tuple(rest)
    return heuristics, verdicts


def faults(told: Sequence[Told]) -> Iterator[str]:
    """What must not be."""
    for one in told:
        if not one.reconciles:
            yield f"{one.stack}: the counts do not reconcile: {one.totals}"
        if one.calls > one.judge_jobs:
            yield f"{one.stack}: {one.calls} judge calls for {one.judge_jobs} jobs"
        if one.added_by_repeat:
            yield f"{one.stack}: repeating nightly opened {one.added_by_repeat} jobs"
    if len(told) == 2:
        left, right = told
        for what in ("sampled", "heuristics", "verdicts", "totals", "points", "findings"):
            if getattr(left, what) != getattr(right, what):
                yield f"{what} differ: {_difference(getattr(left, what), getattr(right, what))}"


def _difference(left: Any, right: Any) -> str:
    if isinstance(left, frozenset):
        return str(sorted(left ^ right)[:5])
    if isinstance(left, dict):
        return str(
            [(key, left.get(key), right.get(key)) for key in left | right if left.get(key) != right.get(key)][:5]
        )
    return f"{left} and {right}"


def report(made: History, told: Sequence[Told]) -> str:
    """Both tables, in Markdown."""
    lines = [
        f"{len(made.truth):,} real runs over the {WEEKS} ISO weeks {made.first} to {made.last}; rate 0.3, floor 3 a "
        f"night and stratum; judge answers after {LATENCY_S * 1000:g} ms.",
        "",
        "| | " + " | ".join(one.stack for one in told) + " |",
        "|---|" + "--:|" * len(told),
    ]
    for name in told[0].walls:
        lines.append(f"| {name}, s | " + " | ".join(f"{one.walls[name]:.1f}" for one in told) + " |")
    facts: dict[str, Any] = {
        "runs drawn": lambda one: f"{len(one.sampled):,}",
        "jobs (heuristic, judge)": lambda one: f"{one.jobs:,} ({one.heuristic_jobs:,}, {one.judge_jobs:,})",
        "jobs a second": lambda one: f"{one.jobs / one.walls['score']:.0f}",
        "judge calls": lambda one: f"{one.calls:,}",
        "spent, simulated dollars": lambda one: f"{one.spend_usd:.4f}",
        **{
            f"{term} (run × scorer)": lambda one, term=term: f"{one.totals[term]:,}"
            for term in ("ended", "filtered", "sampled_out", "scored", "unscored", "failed", "shed", "pending")
        },
        "counts reconcile": lambda one: "yes" if one.reconciles else "NO",
        "trend points": lambda one: f"{one.points:,}",
        "drift findings": lambda one: f"{one.findings}",
    }
    for name, fact in facts.items():
        lines.append(f"| {name} | " + " | ".join(fact(one) for one in told) + " |")
    if len(told) == 2:
        left, right = told
        same = {
            "the sample": left.sampled == right.sampled,
            f"all {len(left.heuristics):,} heuristic scores": left.heuristics == right.heuristics,
            f"all {len(left.verdicts):,} judge's scores": left.verdicts == right.verdicts,
            "the counts": left.totals == right.totals,
        }
        lines += [
            "",
            "Same on both: " + ", ".join(f"{what}: {'yes' if is_so else 'NO'}" for what, is_so in same.items()),
        ]
    return "\n".join([*lines, "", *truth_table(made, told[0])])


def truth_table(made: History, told: Told) -> Iterator[str]:
    """Per heuristic and task type: how many pass (value at least .5) and fail, and their mean truth."""
    types = {orjson.loads(line)["run_id"]: orjson.loads(line)["task_type"] for line in made.lines.splitlines()}
    cells: dict[tuple[str, str], tuple[list[float], list[float], list[None]]] = defaultdict(lambda: ([], [], []))
    for (run_id, name), (_, outcome, value, *_) in told.heuristics.items():
        for task_type in (types[run_id], "~all"):
            passed, failed, unscored = cells[name, task_type]
            if outcome != "scored":
                unscored.append(None)
            else:
                (passed if value >= 0.5 else failed).append(made.truth[run_id])
    yield "| heuristic | task type | pass | fail | unscored | mean truth, pass | mean truth, fail |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for (name, task_type), (passed, failed, unscored) in sorted(cells.items()):
        means = " | ".join(f"{sum(values) / len(values):.2f}" if values else "" for values in (passed, failed))
        shown = task_type.strip("~")
        yield f"| {name} | {shown} | {len(passed)} | {len(failed)} | {len(unscored)} | {means} |"


if __name__ == "__main__":
    main()
