"""Shipped rubrics with changes, in a folder of a team's own; and a night that is looked at again."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from worker.pipeline.backfill import backfill
from worker.project.project import Project
from worker.scorers.rubric.files import shipped_prompts


def changed(folder: Path, changes: Mapping[str, str], name: str = "task_completion") -> str:
    """A prompts folder in which a shipped rubric reads otherwise; for SPOTCHECK_PROMPTS.

    Where its text of before was active already, `changes` must raise its version too: else it is refused.
    """
    text = (shipped_prompts() / f"{name}.rubric.md.j2").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "_shared").mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.rubric.md.j2").write_text(text, encoding="utf-8")
    for shared in (shipped_prompts() / "_shared").iterdir():
        (folder / "_shared" / shared.name).write_text(shared.read_text(encoding="utf-8"), encoding="utf-8")
    return str(folder)


def look_again(project: Project, night: date) -> None:
    """Score a drawn night with what this project's settings and files ask for."""
    backfill(project, [night], [registered for registered, _ in project.scorers.register()], datetime.now(UTC))
