"""A custom scorer whose code ends its process: the run it does that at fails in the end, and no other run with it."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.support.compose import ROOT
from tests.support.custom_scorers import importable, write_module
from tests.support.project import MONDAY, document, draw_nights, ingest, job, rows, run, states
from worker.project.project import Project
from worker.settings import Settings

TOML = """\
[sampling]
rate = 1.0
[scoring]
heuristics = ["crashing"]
rubrics = []
max_attempts = 3
[scoring.custom]
crashing = "crashing_scorer:crashing"
"""
CRASHING = "import os\ndef crashing(run):\n    return os._exit(9) if run.run_id == 'case-3' else 1\n"
WORKER = """
import sys
from worker.jobs.processor import JobProcessor
from worker.project.project import Project
from worker.settings import Settings
with JobProcessor(Project(Settings.read({"SPOTCHECK_DATABASE_URL": sys.argv[1]}, sys.argv[2])).open()) as processor:
    processor.drain("heuristic")
"""


@pytest.mark.both_stores
def test_a_run_that_kills_its_process_takes_no_other_run_along(tmp_path: Path, database_url: str) -> None:
    write_module(tmp_path, "crashing_scorer", CRASHING)
    project = Project(Settings.read({"SPOTCHECK_DATABASE_URL": database_url}, TOML)).open()
    with importable(tmp_path):
        ingest(project, [document(f"case-{number}") for number in range(8)])
        draw_nights(project, [MONDAY])
    command = [sys.executable, "-c", WORKER, database_url, TOML]
    environ = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    died = 0
    while states(project, "heuristic").keys() & {"queued", "leased"}:
        died += subprocess.run(command, env=environ, cwd=tmp_path, check=False).returncode == 9
        with project.store.write() as connection:  # its leases run out
            past = datetime.now(UTC) - timedelta(seconds=1)
            connection.execute(update(job).where(job.c.state == "leased").values(lease_until=past))
    assert died == 3
    found = rows(project, select(run.c.run_id, job.c.state).join(job, job.c.run_pk == run.c.pk).order_by(run.c.run_id))
    project.store.close()
    assert dict(map(tuple, found)) == {f"case-{n}": "failed" if n == 3 else "scored" for n in range(8)}
