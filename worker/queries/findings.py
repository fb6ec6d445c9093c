"""Drift findings as a list."""

from worker.project.project import Project
from worker.records import Drift
from worker.store.results import findings


def list_findings(project: Project, *, everything: bool = False) -> list[Drift]:
    """Findings that are open, acknowledged or muted, newest first; with `everything` all."""
    with project.store.read() as connection:
        return findings.list_findings(connection, everything=everything)
