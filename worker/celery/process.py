"""What one process holds: its project, its processors, whether it is stopping."""

import mmap
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from worker.celery.config import _here, _settings
from worker.jobs.processor import JobProcessor
from worker.jobs.trouble import TroubleLog
from worker.judge.limits import redis_quota
from worker.project.project import Project

_stopping = mmap.mmap(-1, 1)  # anonymous and shared: the parent sets it, forked children see it


def is_stopping() -> bool:
    """Whether this worker was told to stop."""
    return _stopping[0] == 1


_making = threading.Lock()


def _project() -> Project:
    """This process's project; a forked child makes its own, threads share it."""
    with _making:
        if _here.get("pid") != os.getpid():
            _here["project"] = Project(_settings()).open()
            _here["desks"] = {}
            _here["turns"] = TroubleLog(_here["project"])
            _here["pid"] = os.getpid()
    project: Project = _here["project"]
    return project


def _desk(lane: str) -> JobProcessor:
    """This process's desk of a lane; one turn at a time is worked at it."""
    project = _project()
    desk: JobProcessor = _here["desks"].setdefault(
        lane, JobProcessor(project, share=redis_quota.shared(project.settings))
    )
    return desk


_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def _alone(what: str) -> Iterator[bool]:
    """Whether nobody in this process does this already; where tasks are threads, a second one would only wait."""
    turn = _turns[what]
    is_ours = turn.acquire(blocking=False)
    try:
        yield is_ours
    finally:
        if is_ours:
            turn.release()
