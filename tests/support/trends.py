"""Weekly points as `spotcheck trends --json` shows them."""

from typing import Any

from worker.project.project import Project
from worker.queries.trends import TrendsRequest, read_points


def trend_points(
    project: Project, *, by: str, scorer: str | None, task_type: str | None, weeks: int
) -> list[dict[str, Any]]:
    return [point.model_dump() for point in read_points(project, TrendsRequest(by, scorer, task_type, weeks))]
