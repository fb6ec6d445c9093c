"""Four weeks in which the agent gets worse under one judge, and then another judge takes over."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.history import TOML, Made, Verdict, document, make, night
from tests.support.shell import Shell
from worker.scorers.rubric.files import shipped_prompts
from worker.store.engine import Store

DROPPED = 12
"""Nights before the last from which on refunds are worse."""
CHANGED = 4
"""Nights before the last from which on the ruler is another: Wednesday, 18 November, in the middle of the last week."""
SINCE = night(CHANGED)
CLOCK = "2026-11-23T06:00Z@9000-01-01T00:00Z x1"
BEFORE, AFTER = 0.95, 0.55
"""What the first judge passes, refunds since the drop excepted (0.4), and what the second passes."""


class Ruler(NamedTuple):
    """How runs are scored."""

    toml: str = TOML
    model: str = "gpt-a"
    version: str = "1.0.0"
    """Of the rubric `task_completion`."""

    def lay_out(self, folder: Path) -> str:
        """Write the rubrics into a folder; gives the settings that use them."""
        prompts = shutil.copytree(shipped_prompts(), folder / "prompts", dirs_exist_ok=True)
        file = prompts / "task_completion.rubric.md.j2"
        text = file.read_text(encoding="utf-8").replace("version: 1.0.0", f"version: {self.version}")
        file.write_text(text, encoding="utf-8")
        return f'prompts = "{prompts}"\n{self.toml}'


class Changed(NamedTuple):
    """A project whose ruler was changed, and a shell that asks it."""

    made: Made
    shell: Shell


def runs(first: int, last: int) -> Iterator[dict[str, Any]]:
    """Ten runs of two task types a night, from so many nights before the last to so many."""
    for back in range(first, last - 1, -1):
        for task_type in ("refund", "faq"):
            for number in range(10):
                yield document(f"{task_type}-{back:02}-{number}", night(back), task_type=task_type)


def verdict(is_changed: bool) -> Verdict:
    """What the first or the second ruler says; only the rubric sees the drop."""

    def of(scorer: str, run_id: str) -> float:
        task_type, back, _ = run_id.split("-")
        has_dropped = scorer == "task_completion" and task_type == "refund" and int(back) <= DROPPED
        rate = AFTER if is_changed else 0.4 if has_dropped else BEFORE
        return 1.0 if scorer == "answer_present" or random.Random(run_id).random() < rate else 0.0

    return of


def change(store: Store, folder: Path, first: Ruler, second: Ruler, then: Verdict | None = None) -> Changed:
    """A history of 28 nights, the last ones scored by another ruler; `then` says what it says."""
    toml = first.lay_out(folder)
    make(store, runs(27, CHANGED + 1), verdict(False), toml=toml, model=first.model, is_watched=False)
    toml = second.lay_out(folder)
    made = make(store, runs(CHANGED, 0), then or verdict(True), toml=toml, model=second.model, is_watched=False)
    (folder / "spotcheck.toml").write_text(toml, encoding="utf-8")
    environ = {
        "SPOTCHECK_DATABASE_URL": store.engine.url.render_as_string(hide_password=False),
        "SPOTCHECK_JUDGE_MODEL": second.model,
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "SPOTCHECK_CLOCK": CLOCK,
    }
    return Changed(made, Shell(folder, environ))
