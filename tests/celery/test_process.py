"""What a worker process holds, before and after its pool forks."""

import subprocess
import sys
from pathlib import Path

from tests.support.compose import ROOT
from worker.celery.process import WorkerProcess

FORKING = """
import os, sys
from worker.celery.process import WorkerProcess
from worker.settings import Settings

process = WorkerProcess()
process.use(Settings.read({"SPOTCHECK_DATABASE_URL": sys.argv[1], "SPOTCHECK_BROKER_URL": "memory://"}))
project, processor, troubles = process.project, process.processor("heuristic"), process.troubles
assert (process.project, process.processor("heuristic"), process.troubles) == (project, processor, troubles)
assert process.processor("judge") is not processor
asked, answer = os.pipe()
child = os.fork()
if not child:
    os.read(asked, 1)  # until the parent was told to stop
    is_own = process.project is not project and process.processor("heuristic") is not processor
    is_own &= process.project.settings is project.settings and process.troubles is not troubles
    os._exit(0 if is_own and process.is_stopping() else 1)
process.stop()
os.write(answer, b"!")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a child has all of its own but the stop flag"
process.close()
assert process.project is not project, "after a worker has ended another one may start in the process"
process.start()
assert not process.is_stopping()
"""


def test_a_forked_child_shares_the_settings_and_the_stop_flag_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, f"sqlite:///{tmp_path / 'spotcheck.db'}"]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_done_alone_is_not_begun_twice_and_other_things_are_begun_beside_it() -> None:
    process = WorkerProcess()
    with process.alone("judge") as first, process.alone("judge") as second, process.alone("heuristic") as other:
        assert (first, second, other) == (True, False, True)
        with process.alone("judge") as third:
            assert not third, "who was refused has let nobody in"
    with process.alone("judge") as again:
        assert again
