"""The simulations that are too long for `make test`, with fixed seeds, and a record of what they gave with which code.

    python -m bench.simulations [NAME ...]      (make bench-statistics)

runs them, all or those named, prints a table, and writes `bench/simulations.json`: the figures of each seed and a hash
of the code that decides them. The tests hold one seed of each simulation, and that the record belongs to the present
code. Comments and docstrings do not count as code here.
"""

import ast
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from bench.drift.product import TEMPTING, history
from tests.support import stores
from tests.support.known_history import known_history
from tests.support.project import Installation
from tests.support.projects import OpenProject
from tests.support.shedding import MOST_USD, TASK_TYPES, simulate, z
from tests.support.watched_team import live, project, steady
from worker.demo.judge.server import Answer, JudgeServer
from worker.store.engine import Store
from worker.store.results import alerts

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "bench" / "simulations.json"
Figures = dict[str, float]


class Simulation(NamedTuple):
    """What is simulated, with which seeds, and what must hold."""

    run: Callable[[Path, int], Figures]
    """In an empty folder, with a seed."""
    seeds: tuple[int, ...]
    limits: dict[str, tuple[float, float]]
    """Least and most of the mean of a figure over all seeds."""
    code: tuple[str, ...]
    """Files that decide the figures, as patterns from the project's folder."""


def constant_quality(folder: Path, seed: int) -> Figures:
    """A doubled rate, a cut budget and quiet weekends at constant quality, through the product."""
    return {"findings": len(history(folder, seed, TEMPTING).found)}


def quiet_weeks(folder: Path, seed: int) -> Figures:
    """Eight weeks of all ended runs with constant figures."""
    open_project = OpenProject()
    opened = project(open_project, stores.sqlite_url(folder))
    found = live(opened, 56, steady, seed=seed)
    with opened.store.read() as connection:
        told = alerts.list_alerts(connection, everything=True)
    open_project.close()
    return {"findings": len(found), "alerts": len(told)}


def shedding(folder: Path, seed: int, *, nights: int = 160) -> Figures:
    """The errors of nights whose money ended somewhere, in their own standard errors."""
    store = Store(stores.migrate(stores.sqlite_url(folder)))
    found = simulate(store, seed, nights)
    store.close()
    errors = {place: [one.inverse[place] for one in found] for place in ((r, t) for r in MOST_USD for t in TASK_TYPES)}
    return {
        "largest z": max(abs(z(each)) for each in errors.values()),
        "largest mean error": max(abs(float(np.mean(errors[rubric, ""]))) for rubric in MOST_USD),
    }


def cheapest_first(folder: Path, seed: int) -> Figures:
    """The same with the cheap runs first: the checks of shedding must fail here."""
    store = Store(stores.migrate(stores.sqlite_url(folder)))
    found = simulate(store, seed, 60, by_cost=True)
    store.close()
    return {"smallest z": min(z([one.in_order[rubric, ""] for one in found]) for rubric in MOST_USD)}


def coverage(folder: Path, seed: int) -> Figures:
    """How many weekly intervals of a known history hold the true mean, and the mean error."""
    with JudgeServer(lambda request, headers: Answer(500)) as judge:
        installation = Installation(stores.sqlite_url(folder), judge)
        truth, found = known_history(installation, seed)
        installation.close()
    return {
        "covered": float(np.mean([found[key]["low"] <= true <= found[key]["high"] for key, true in truth.items()])),
        "mean error": float(np.mean([found[key]["mean"] - true for key, true in truth.items()])),
    }


STATISTICS = ("worker/core/stats/*.py", "worker/core/sampling.py", "worker/store/results/cells.py")
DRIFT = ("worker/core/drift/*.py",)
SIMULATIONS = {
    "constant quality": Simulation(constant_quality, (1, 2), {"findings": (0, 0)}, (*STATISTICS, *DRIFT)),
    "quiet weeks": Simulation(quiet_weeks, tuple(range(1, 7)), {"findings": (0, 0), "alerts": (0, 0)}, DRIFT),
    "shedding": Simulation(
        shedding,
        (7,),
        {"largest z": (0, 3.5), "largest mean error": (0, 0.02)},
        (
            "worker/store/budget/*.py",
            "worker/store/queue/*.py",
            "worker/store/runs/draws.py",
            "worker/core/sampling.py",
        ),
    ),
    "cheapest first": Simulation(cheapest_first, (8,), {"smallest z": (5, 1e9)}, ("tests/support/shedding.py",)),
    "coverage": Simulation(coverage, tuple(range(5)), {"covered": (0.9, 1), "mean error": (-0.01, 0.01)}, STATISTICS),
}


def code_hash(patterns: tuple[str, ...]) -> str:
    """A hash of the code in files, without comments and docstrings; the same for every version of Python."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
        digest.update(f"{path.relative_to(ROOT)}\n".encode())
        digest.update(" ".join(_words(ast.parse(path.read_text(encoding="utf-8")))).encode())
    return digest.hexdigest()[:16]


def _words(node: ast.AST) -> Iterator[str]:
    """The kinds and values of a tree's nodes, in order; what is empty is left out."""
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        for each in value if isinstance(value, list) else [value]:
            is_text = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            if is_text or each is None or name == "type_comment":
                continue
            yield name
            if isinstance(each, ast.AST):
                yield from _words(each)
            else:
                yield repr(each)
    yield "."


def failures(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Figures whose mean over the seeds is out of its limits."""
    said = []
    for figure, (least, most) in SIMULATIONS[name].limits.items():
        mean = sum(row[figure] for row in rows) / len(rows)
        if not least <= mean <= most:
            said.append(f"{name}: {figure} is {mean:.4g}, not within {least:g} to {most:g}")
    return said


def main() -> None:
    """Run, print, record; exit with 1 where a limit is passed."""
    record: dict[str, Any] = orjson.loads(RECORD.read_bytes()) if RECORD.exists() else {}
    problems = []
    for name in sys.argv[1:] or SIMULATIONS:
        simulation = SIMULATIONS[name]
        rows = []
        for seed in simulation.seeds:
            with tempfile.TemporaryDirectory(prefix="statistics-") as folder:
                figures = simulation.run(Path(folder), seed)
            rows.append({"seed": seed, **{figure: round(value, 4) for figure, value in figures.items()}})
            print(f"| {name} | {seed} | " + ", ".join(f"{k} {v:g}" for k, v in rows[-1].items() if k != "seed") + " |")
        record[name] = {"code": code_hash(simulation.code), "figures": rows}
        problems += failures(name, rows)
        RECORD.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
