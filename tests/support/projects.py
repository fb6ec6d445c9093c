"""Opens projects, and closes what it opened: a test that fails leaves no connection to the next one."""

from worker.project.project import Project
from worker.settings import Settings


class OpenProject:
    """`open_project(toml, SPOTCHECK_…="…")`: a project as a new process would open it."""

    def __init__(self) -> None:
        self._opened: list[Project] = []

    def __call__(self, toml: str = "", /, **environ: str) -> Project:
        """Open a project with these settings and variables, and nothing of this process's environment."""
        opened = Project(Settings.read(environ, toml)).open()
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        """Close the store of every project that was opened."""
        for project in self._opened:
            project.store.close()
