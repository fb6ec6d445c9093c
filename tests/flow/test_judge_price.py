"""What a score may cost: by tier, and never less than the tier that may serve it."""

from pathlib import Path

import pytest

from worker.flow.project import Project
from worker.settings import Settings

PRICED = """\
[judge]
model = "m"
base_url = "http://127.0.0.1:9/v1"
{judge}
[judge.prices.m]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 4.0
"""


def a_project(tmp_path: Path, *, judge: str = "", option: str = "") -> Project:
    """A project whose only rubric, in a folder of its own, has this option of the judge."""
    shipped = Path(__file__).parents[2] / "prompts"
    text = (shipped / "task_completion.rubric.md.j2").read_text(encoding="utf-8")
    assert "  backend: chat\n" in text
    own = tmp_path / "prompts"
    own.mkdir(exist_ok=True)
    (own / "task_completion.rubric.md.j2").write_text(text.replace("  backend: chat\n", f"  {option}\n"), "utf-8")
    for shared in (shipped / "_shared").iterdir():
        (own / "_shared").mkdir(exist_ok=True)
        (own / "_shared" / shared.name).write_bytes(shared.read_bytes())
    environ = {"SPOTCHECK_DATABASE_URL": f"sqlite:///{tmp_path}/s.db", "SPOTCHECK_PROMPTS": str(own)}
    return Project(Settings.read(environ, PRICED.format(judge=judge)))


def most(project: Project, tier: str | None = None) -> float:
    found = project.open().max_usd(project.scorers[-1], tier)
    project.store.close()
    assert found is not None
    return found


def test_tiers_cost_what_the_settings_say(tmp_path: Path) -> None:
    project = a_project(tmp_path, judge="tier_prices = {flex = 0.6, scale = 3}")
    costs = {
        tier: project.price("m", 1_000_000, 0, 0, tier)
        for tier in (None, "default", "flex", "batch", "priority", "scale", "unheard-of")
    }
    assert costs == {
        None: 1.0,
        "default": 1.0,
        "flex": 0.6,
        "batch": 0.5,
        "priority": 2.0,
        "scale": 3.0,
        "unheard-of": 1.0,
    }


def test_the_most_of_a_score_is_that_of_the_tier_that_may_serve_it(tmp_path: Path) -> None:
    plain = most(a_project(tmp_path))
    assert most(a_project(tmp_path), "batch") == pytest.approx(plain / 2)
    # the file's text counts as what an `{% if %}` may add, so a longer option costs a little more
    flex = most(a_project(tmp_path, option="service_tier: flex"))
    assert flex == pytest.approx(plain, rel=0.01), "a flex call may be served by default, at the full price"
    assert most(a_project(tmp_path, option="service_tier: priority")) == pytest.approx(2 * plain, rel=0.01)
