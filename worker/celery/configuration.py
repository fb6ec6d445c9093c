"""Which settings and rubric files a running process draws nights with, and what it says where they are not active."""

import hashlib
import logging
import mmap

from worker.errors import SettingsError
from worker.project.project import Project
from worker.settings import Settings, read_here
from worker.store.engine import Store
from worker.store.queue import workers
from worker.store.rubrics import revisions

log = logging.getLogger("spotcheck")


class KnownRevision:
    """The revision that was in force when a worker read its settings, for all processes of the worker.

    Children of the pool are replaced now and then. One that noted for itself what is in force would take the worker's
    old settings for the newest, and activate them again.
    """

    _DIGEST = 16

    def __init__(self) -> None:
        """Nothing is noted; forked children share what is noted later."""
        self._shared = mmap.mmap(-1, self._DIGEST + 8)

    def forget(self) -> None:
        """Note anew: a worker starts."""
        self._shared[:] = bytes(len(self._shared))

    def of(self, settings: Settings, store: Store) -> int:
        """The number of the revision that was in force when a process of this worker first had these settings.

        Args:
            settings: As they were read.
            store: Where the revision in force is read the first time.

        Returns:
            0 where there was none.
        """
        digest = hashlib.sha256(repr(settings).encode()).digest()[: self._DIGEST]
        if self._shared[: self._DIGEST] == digest:
            return int.from_bytes(self._shared[self._DIGEST :], "big")
        number = _number_in_force(store)
        self._shared[:] = digest + number.to_bytes(8, "big")
        return number


def _number_in_force(store: Store) -> int:
    with store.read() as connection:
        current = revisions.current(connection)
    return 0 if current is None else current.number


class DrawSettings:
    """The settings of one process as it draws: `spotcheck.toml` and rubric files are read again before each draw.

    What a process holds open (connections, keys, concurrency) stays as it was started; only what enters draws is new.
    Serves one process, after its pool has forked.
    """

    def __init__(self, project: Project, *, is_from_here: bool, known: KnownRevision | None = None) -> None:
        """Read the settings, and note what was active then: what another process activates later is not known to them.

        Args:
            project: As the worker was started.
            is_from_here: Whether its settings are those of this folder and environment, and can be read again.
            known: What the processes of its worker have noted; None for a process alone.
        """
        self._project = self._started = project
        self._is_from_here = is_from_here
        self._known = known or KnownRevision()
        self._complaint = ""
        self._read_settings()  # those of now, which an older child may have noted: not those of the worker's start
        self._note()

    def _note(self) -> None:
        self._project.known_revision = self._known.of(self._project.settings, self._project.store)

    def reread(self, *, with_rubrics: bool = True) -> Project:
        """The project to draw with, with settings as they are now; a wrong file changes nothing.

        Args:
            with_rubrics: Whether rubric files are read again too; only a draw needs them.
        """
        if with_rubrics:
            self._project.scorers.reread()
        if self._read_settings():
            self._note()
        return self._project

    def _read_settings(self) -> bool:
        """Read the settings again; gives whether they are others than before."""
        if not self._is_from_here:
            return False
        try:
            settings = read_here()[0]
        except SettingsError as error:
            if str(error) != self._complaint:
                log.error("%s; the settings of before go on", error)
            self._complaint = str(error)
            return False
        self._complaint = ""
        is_changed = settings != self._project.settings
        if is_changed:
            changed = Project(settings, self._started.store)
            changed.scorers.heuristics.leaves_out_broken = True
            changed.scorers.on_told = self._project.scorers.on_told
            changed.nights.is_replaying = self._project.nights.is_replaying
            self._project = changed
        return is_changed


class ConfigurationNotice:
    """What the processes of a worker write of it beside its heartbeat.

    Each turn says how its kind of work stands, whichever child takes it; one child must neither wipe out what another
    one said, nor keep what it said itself when it is replaced.
    """

    def __init__(self, worker_name: str) -> None:
        """Nothing is written yet.

        Args:
            worker_name: Of the row that the worker's parent process keeps alive.
        """
        self._worker_name = worker_name

    def write(self, project: Project, what: str, trouble: str | None, revision: int | None = None) -> None:
        """Say that one kind of work is in trouble, or not any more; nothing is written where it is said already.

        Args:
            project: Where the worker's row is.
            what: The lane; each has its own trouble.
            trouble: One line; None for none.
            revision: Number of the revision worked by; None where this kind of work has none.
        """
        if trouble:
            log.debug("%s: %s", what, trouble)
        with project.store.read() as connection:
            if workers.is_noted(connection, self._worker_name, what, trouble, revision):
                return
        with project.store.write() as connection:
            workers.note_configuration(connection, self._worker_name, what, trouble, revision=revision)


def are_from_here(settings: Settings) -> bool:
    """Whether settings are what this folder and environment say now."""
    try:
        return read_here()[0] == settings
    except SettingsError:
        return False
