"""A scorer of one's own from night to night, in processes of their own, on both stores and by both ways in."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import orjson
import pytest
from sqlalchemy import func, select

from tests.support.custom_scorers import install, write_module
from tests.support.processes import stop, until
from tests.support.project import MONDAY, history, ingest, job, rows, score, scorer
from tests.support.servers import free_port
from worker.project.project import Project
from worker.settings import Settings

NIGHTS = 23
CHANGED = 18
"""From this night on the function says the opposite: it would be drift if it were one series."""
ONE = '''\
"""Scorers of the shop."""


def refunded(run):
    print("looking at", run.run_id)
    if run.run_id.endswith("-05"):
        return run.steps["no such step"]
    return "refunded" in run.output
'''
OPPOSITE = ONE.replace('"refunded" in', '"refunded" not in')
TOML = '[sampling]\nrate = 1.0\n[scoring]\nheuristics = ["answer_present", "refunded"]\nrubrics = []\n'


class Shop(NamedTuple):
    """A project in a folder, and where its scorer lies."""

    folder: Path
    environ: Mapping[str, str]
    project: Project
    rewrite: Callable[[str], object]

    def spotcheck(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The installed command, in the folder: nothing but that makes its modules importable."""
        command = [str(Path(sys.executable).with_name("spotcheck")), *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)

    def answer(self, *arguments: str) -> Any:
        done = self.spotcheck(*arguments)
        assert done.returncode == 0, done
        return orjson.loads(done.stdout)

    def states(self) -> dict[tuple[str, str], int]:
        """Jobs by scorer and state."""
        counted = select(scorer.c.name, job.c.state, func.count()).join(scorer, scorer.c.pk == job.c.scorer_pk)
        return {(name, state): n for name, state, n in rows(self.project, counted.group_by(scorer.c.name, job.c.state))}


@contextmanager
def shop(folder: Path, database_url: str, way: str) -> Iterator[Shop]:
    site = folder.parent / "site"
    toml = TOML
    if way == "setting":
        toml += '[scoring.custom]\nrefunded = "shop_scorers:refunded"\n'

        def rewrite(text: str) -> object:
            return write_module(folder, "shop_scorers", text)
    else:

        def rewrite(text: str) -> object:
            return install(site, "shop_scorers", {"refunded": "shop_scorers:refunded"}, text)

    folder.mkdir()
    (folder / "spotcheck.toml").write_text(toml, encoding="utf-8")
    rewrite(ONE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTCHECK_", "OPENAI_"))}
    environ = kept | {"SPOTCHECK_DATABASE_URL": database_url, "PYTHONPATH": str(site)}
    project = Project(Settings.read({"SPOTCHECK_DATABASE_URL": database_url}, "[scoring]\nrubrics = []")).open()
    try:
        ingest(project, history(NIGHTS, {"refund": 6}))
        yield Shop(folder, environ, project, rewrite)
    finally:
        project.store.close()


def night(offset: int) -> str:
    return str(MONDAY + timedelta(days=offset))


@pytest.mark.parametrize("way", ["setting", "entry point"])
def test_a_changed_function_is_a_new_series_and_no_drift(tmp_path: Path, database_url: str, way: str) -> None:
    with shop(tmp_path / "shop", database_url, way) as opened:
        first = ("nightly", "--since", night(0), "--until", night(CHANGED - 1), "--wait", "--json")
        assert opened.answer(*first)["open"] == 0
        expected = {
            ("answer_present", "scored"): 6 * CHANGED,
            ("refunded", "scored"): 5 * CHANGED,
            ("refunded", "unscored"): CHANGED,
        }
        assert opened.states() == expected
        assert rows(
            opened.project, select(score.c.reason, score.c.rationale).where(score.c.value.is_(None)).distinct()
        ) == [
            (
                "scorer_failed:TypeError",
                "TypeError: tuple indices must be integers or slices, not str (shop_scorers.py:7)",
            )
        ]
        assert opened.answer(*first)["open"] == 0, "a second time"
        assert opened.states() == expected

        opened.rewrite(OPPOSITE)
        done = opened.spotcheck("nightly", "--since", night(CHANGED), "--until", night(NIGHTS - 1), "--wait", "--json")
        assert done.returncode == 0, done
        assert orjson.loads(done.stdout)["findings"] == []
        said = [line for line in done.stderr.splitlines() if "new series" in line]
        assert len(said) == 1
        assert said[0].startswith("refunded: new series 0+")
        assert said[0].endswith("; changed: code")
        points = opened.answer("trends", "--scorer", "refunded", "--json")["points"]
        means = {point["scorer_version"]: point["mean"] for point in points if point["task_type"] == "refund"}
        assert sorted(means.values()) == [0.0, 1.0]

        opened.rewrite(ONE)
        before = opened.states()
        again = opened.spotcheck("nightly", "--since", night(0), "--until", night(CHANGED - 1), "--wait", "--json")
        assert again.returncode == 0, again
        assert "new series" not in again.stderr
        assert opened.states() == before, "the old code is the old series, and nothing is scored again"


def test_a_broken_scorer_is_one_line_in_commands_and_stops_no_other_scorer_of_a_worker(tmp_path: Path) -> None:
    with shop(tmp_path / "shop", f"sqlite:///{tmp_path / 'spotcheck.db'}", "setting") as opened:
        opened.answer("nightly", "--date", night(0), "--wait", "--json")
        opened.answer("nightly", "--date", night(1), "--json")
        assert opened.states()["refunded", "queued"] == 6
        opened.rewrite(ONE + "import nowhere_at_all\n")
        for command in (["nightly", "--wait"], ["worker"]):
            done = opened.spotcheck(*command)
            assert (done.returncode, done.stdout) == (2, ""), done
            assert done.stderr == (
                "spotcheck: spotcheck.toml: scoring.custom.refunded: shop_scorers cannot be imported: "
                "ModuleNotFoundError: No module named 'nowhere_at_all'\n"
            )
        status = opened.spotcheck("status", "--since", night(1), "--until", night(1), "--json")
        assert status.returncode == 0, "what only reads goes on"
        assert status.stderr.count("shop_scorers cannot be imported") == 1
        counted = orjson.loads(status.stdout)["scorers"]
        assert [row["pending"] for row in counted if row["scorer"] == "refunded"] == [6]
        log = opened.folder / "worker.log"
        with worker(opened, log):
            until(lambda: opened.states().get(("answer_present", "scored")) == 12, "the other scorer goes on")
            until(lambda: "its jobs wait, other scorers go on" in log.read_text(), "the log says so")
        assert opened.states()["refunded", "queued"] == 6
        opened.rewrite(ONE)
        with worker(opened, log):
            all_done = {("answer_present", "scored"): 12, ("refunded", "scored"): 10, ("refunded", "unscored"): 2}
            until(lambda: opened.states() == all_done, "what waited is scored")


def test_a_broken_scorer_of_a_package_is_told_by_every_command_and_stops_none(tmp_path: Path) -> None:
    with shop(tmp_path / "shop", f"sqlite:///{tmp_path / 'spotcheck.db'}", "entry point") as opened:
        install(tmp_path / "site", "impostor", {"answer_present": "impostor:short_answer"})
        opened.answer("nightly", "--date", night(0), "--wait", "--json")
        opened.answer("nightly", "--date", night(1), "--json")
        opened.rewrite(ONE + "import nowhere_at_all\n")
        for command in (["status"], ["report"], ["settings"], ["score", "--wait"], ["nightly", "--wait"]):
            done = opened.spotcheck(*command)
            assert done.returncode == 0, done
            lines = [line for line in done.stderr.splitlines() if "entry point spotcheck.scorers" in line]
            assert len(lines) == 2, done
            assert "answer_present of package impostor: there is a built-in heuristic of that name" in lines[0]
            assert "refunded of package shop_scorers: shop_scorers cannot be imported: ModuleNotFoundError" in lines[1]
        for command in (["trends"], ["runs"], ["alerts"], ["drift"], ["rubric", "list"]):
            done = opened.spotcheck(*command)
            assert (done.returncode, "entry point" in done.stderr) == (0, False), done
        done_by_others = opened.states()
        assert done_by_others["answer_present", "scored"] >= 12
        assert done_by_others["refunded", "queued"] == 6, "its jobs wait"
        opened.rewrite(ONE)
        opened.answer("score", "--wait", "--json")
        del done_by_others["refunded", "queued"]
        assert opened.states() == done_by_others | {("refunded", "scored"): 10, ("refunded", "unscored"): 2}


COUNTING = (
    ONE
    + """
import os, threading
with open("imports.log", "a") as log:
    log.write(f"{os.getpid()} {threading.current_thread().name}\\n")
"""
)


@pytest.mark.parametrize("end", ["", "import nowhere_at_all\n"], ids=["whole", "broken"])
def test_a_worker_imports_a_module_once_and_its_metrics_do_not(tmp_path: Path, end: str) -> None:
    with shop(tmp_path / "shop", f"sqlite:///{tmp_path / 'spotcheck.db'}", "setting") as opened:
        opened.answer("nightly", "--date", night(0), "--json")
        opened.rewrite(COUNTING + end)
        log, port = opened.folder / "worker.log", free_port()
        opened = opened._replace(environ={**opened.environ, "SPOTCHECK_METRICS": f"127.0.0.1:{port}"})
        with worker(opened, log, processes=2):
            until(lambda: opened.states().get(("answer_present", "scored")) == 6, "a child has scored")
            until(lambda: log.read_text().count("spotcheck.tick") >= 2, "and one has drawn")
            with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                assert b"spotcheck_store_up 1.0" in answer.read()
        imports = (opened.folder / "imports.log").read_text().splitlines()
        assert [line.partition(" ")[2] for line in imports] == ["MainThread"]
        assert log.read_text().count("its jobs wait") == (1 if end else 0)


@contextmanager
def worker(opened: Shop, log: Path, processes: int = 1) -> Iterator[None]:
    """Celery's own command, with beat."""
    celery = str(Path(sys.executable).with_name("celery"))
    command = [celery, "-A", "worker", "worker", "-B", "-c", str(processes), "-l", "INFO"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "-Q", "heuristics,control"],
            cwd=opened.folder,
            env={**opened.environ},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            stop([process])
