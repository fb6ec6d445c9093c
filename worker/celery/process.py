"""What one worker process holds: its settings, its project, a job processor a lane, and whether it is to stop."""

import logging
import mmap
import os
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from worker.celery import broker
from worker.celery.config import app, configure
from worker.celery.configuration import ConfigurationNotice, DrawSettings, KnownRevision, are_from_here
from worker.errors import SpotcheckError
from worker.jobs.processor import JobProcessor
from worker.jobs.trouble import TroubleLog
from worker.judge.limits import redis_quota
from worker.project.project import Project
from worker.settings import Settings, read_here

log = logging.getLogger("spotcheck")


class BrokerContact:
    """Whether the broker answered when this process last sent something."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.is_up = False
        self.quiet_until = 0.0
        """Nothing is sent before; seconds of the monotonic clock."""


class WorkerProcess:
    """The state of one process; `this_process` is the only one that there is.

    Celery's prefork pool forks after this object is made. A child inherits the settings and the stop flag, whose memory
    it shares with its parent; its project and processors are its own, since connections and event loops do not survive
    a fork. Where tasks are threads of one process they share all of it.
    """

    def __init__(self) -> None:
        """Read nothing yet; the stop flag is shared from here on, so this must run before the pool forks."""
        self.broker = BrokerContact()
        self._settings: Settings | None = None
        self._project: Project | None = None
        self._troubles: TroubleLog | None = None
        self._processors: dict[str, JobProcessor] = {}
        self.worker_name = f"{socket.gethostname()}:{os.getpid()}"
        """HOST:PID of the worker; its children, forked later, keep the name."""
        self._is_from_here = False
        self._draw: DrawSettings | None = None
        self.known = KnownRevision()
        """What was in force when the settings were read; children that are forked later share it."""
        self._notice: ConfigurationNotice | None = None
        self._broken_scorers: Mapping[str, str] = {}
        """What `import_scorers` could not load, with the reason; children do not try again."""
        self._logged: frozenset[str] = frozenset()
        """What was said of those, here and so in the children."""
        self._pid: int | None = None
        """The process that `_project`, `_troubles` and `_processors` belong to."""
        self._opening = threading.Lock()
        self._busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._stop_flag = mmap.mmap(-1, 1)  # anonymous and shared: the parent sets it, forked children see it

    @property
    def settings(self) -> Settings:
        """The settings this process works by; those of its folder and environment where none were given."""
        if self._settings is None:
            self.use(read_here()[0])
        assert self._settings is not None
        return self._settings

    def use(self, settings: Settings) -> None:
        """Work by these settings: the commands call it, and `celery -A worker` gets those of its folder.

        Raises:
            SettingsError: The broker cannot be used.
            OSError: The broker is a folder that cannot be made.
        """
        self.forget()
        self._settings = settings
        self._is_from_here = are_from_here(settings)
        configure(app, settings)
        broker.prepare(settings)

    def forget(self) -> None:
        """Go back to having no settings; processors are not closed, see `close`."""
        self.broker = BrokerContact()
        self._settings = self._project = self._troubles = self._pid = self._draw = self._notice = None
        self._processors, self._broken_scorers, self._logged = {}, {}, frozenset()
        self.known.forget()

    def import_scorers(self) -> None:
        """Import a team's own scorers before the pool forks: once a worker, and all its children run the same code.

        Each child makes the scorers anew from what is imported: what they open must not cross the fork. One that
        cannot be loaded is one line in the log.
        """
        heuristics = Project(self.settings).scorers.heuristics
        heuristics.leaves_out_broken = True
        heuristics.on_left_out = self.log_once
        try:
            heuristics.built  # noqa: B018 read, which imports them
        except SpotcheckError as error:
            log.error("%s", error)
        self._broken_scorers = heuristics.broken

    def log_once(self, line: str) -> None:
        """Log an error the first time that it is said, here or in the parent before the fork."""
        if line not in self._logged:
            log.error("%s", line)
        self._logged |= {line}

    @property
    def project(self) -> Project:
        """This process's project, opened; a forked child opens its own, threads share it.

        Raises:
            StoreError: The database does not answer.
        """
        with self._opening:
            if self._project is None or self._pid != os.getpid():
                self._project = Project(self.settings).open()
                heuristics = self._project.scorers.heuristics
                heuristics.leaves_out_broken = True  # one broken scorer does not stop the others
                heuristics.on_left_out = self.log_once
                heuristics.leave_out(self._broken_scorers)
                self._troubles = TroubleLog(self._project)
                self._draw, self._notice = None, ConfigurationNotice(self.worker_name)
                self._processors = {}
                self._pid = os.getpid()
            return self._project

    @property
    def troubles(self) -> TroubleLog:
        """What this process has noted of its turns at the lanes."""
        project = self.project
        return self._troubles or TroubleLog(project)

    @property
    def draw(self) -> DrawSettings:
        """What this process draws nights with."""
        project = self.project
        if self._draw is None:
            self._draw = DrawSettings(project, is_from_here=self._is_from_here, known=self.known)
        return self._draw

    def notice(self, what: str, trouble: str | None, revision: int | None = None) -> None:
        """Say beside the worker's heartbeat what is in the way of one kind of work; see `ConfigurationNotice`."""
        project = self.project
        if self._notice is not None:
            self._notice.write(project, what, trouble, revision)

    def processor(self, lane: str) -> JobProcessor:
        """This process's processor of a lane; use it inside `alone`, one turn at a time."""
        project = self.project
        if lane not in self._processors:
            self._processors[lane] = JobProcessor(project, share=redis_quota.shared(project.settings))
        return self._processors[lane]

    @contextmanager
    def alone(self, what: str) -> Iterator[bool]:
        """Whether no other thread of this process does this now; where one does, a second would only wait."""
        lock = self._busy[what]
        is_ours = lock.acquire(blocking=False)
        try:
            yield is_ours
        finally:
            if is_ours:
                lock.release()

    def is_stopping(self) -> bool:
        """Whether this worker was told to stop; children read what their parent was told."""
        return self._stop_flag[0] == 1

    def stop(self) -> None:
        """Have every lane finish or give back what is in hand, here and in all children; no more is claimed."""
        self._stop_flag[0] = 1

    def start(self) -> None:
        """A worker starts: jobs may be claimed. Called in the parent, before the pool forks."""
        self.worker_name = f"{socket.gethostname()}:{os.getpid()}"
        self._stop_flag[0] = 0

    def close(self) -> None:
        """Close this process's processors; what a parent holds is the parent's."""
        pid, self._pid = self._pid, None
        if pid == os.getpid():
            processors, self._processors = self._processors, {}
            for processor in processors.values():
                processor.close()


this_process = WorkerProcess()


@app.on_configure.connect
def _read_settings(**_: object) -> None:
    """Celery asks for the app's configuration for the first time: give it the project's."""
    this_process.settings  # noqa: B018 read, which configures the app
