"""The judge's hard quota, where the settings have one: shared through the broker if it can, else in equal parts."""

from collections.abc import Callable

from worker.jobs.capability_store import server_of
from worker.judge.limits.quota import Limits, OwnShare, Quota
from worker.project.project import Project
from worker.store.queue import workers

Share = Callable[[str, Limits, Quota], Quota]
"""Makes a quota that all workers draw on: its name, its limits, and the quota that stands in where it cannot be had."""


def quota_of(project: Project, share: Share | None) -> Callable[[str], Quota | None]:
    """What a model may be asked by all workers together; None without such a limit.

    Args:
        project: Whose settings and store.
        share: How workers share; None where they have nothing in common but the store.
    """

    def processes() -> int:
        with project.store.read() as connection:
            return workers.working_processes(connection, "judge", project.store.now(connection))

    def of(model: str) -> Quota | None:
        entry = project.settings.judge.quota.of(model)
        if entry is None:
            return None
        limits = Limits(entry.requests_per_minute, entry.tokens_per_minute)
        equal_part = OwnShare(limits, processes)
        return equal_part if share is None else share(f"{server_of(project)} {model}", limits, equal_part)

    return of
