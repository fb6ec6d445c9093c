"""kill -9 while rubrics rise, go back and are backfilled: one version a night, exact counts, no call paid twice.

Real processes die at a random write to the database or at a random request to the judge, never at a time, so that a
slow machine tells the same story. Each seed is another one.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from tests.support.activation_checks import assert_exact
from tests.support.activation_story import ActivationStory
from tests.support.killing import Beside, Meanwhile
from tests.support.project import rows
from worker.demo.judge.server import Answer, JudgeServer
from worker.store.tables import RevisionRow, core

pytestmark = pytest.mark.slow

NIGHTS, SEEDS, SHORT = 8, 20, 4
BESIDE = {
    4: ("worker", "-B", "-c", "1"),
    9: ("up", "--quiet"),
    14: ("worker", "-B", "-c", "2"),
    19: ("up", "--quiet"),
}
"""What runs beside the commands in some of the stories, and draws, scores and dies too."""


STORIES = [
    pytest.param((store, seed, NIGHTS), id=f"{store}-{seed}", marks=pytest.mark.long)
    for store in ("sqlite", "postgresql")
    for seed in range(SEEDS)
]
STORIES += [pytest.param((store, SEEDS, SHORT), id=f"{store}-short") for store in ("sqlite", "postgresql")]


@pytest.fixture
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ActivationStory]:
    store, seed, nights = request.param
    urls = {}
    if store == "postgresql":
        urls["SPOTCHECK_DATABASE_URL"] = request.getfixturevalue("postgres_url")()
        urls["SPOTCHECK_BROKER_URL"] = f"filesystem://{tmp_path / 'broker'}"
    with (
        JudgeServer(lambda request, headers: Answer(500)) as server,
        closing(ActivationStory(tmp_path, urls, server, Random(f"{store}-{seed}"), nights)) as told,
    ):
        if seed in BESIDE:
            told.killing.beside = Beside(told.killing, BESIDE[seed])
            told.killing.beside.until_alive()
        yield told


@pytest.mark.parametrize("story", STORIES, indirect=True)
def test_nights_keep_one_version_and_exact_counts_whatever_is_killed(story: ActivationStory) -> None:
    chance = story.chance

    def deaths() -> int:
        return chance.choice((0, 1, 1, 2))

    def meanwhile() -> list[Meanwhile]:
        chosen: list[Meanwhile] = []
        if chance.random() < 0.2:
            chosen.append(lambda during: story.backfill(deaths=deaths(), during=during))
        if chance.random() < 0.25:
            chosen.append(lambda _: story.raise_file())
        if chance.random() < 0.25:
            chosen.append(lambda during: story.promote(deaths=deaths(), during=during))
        if story.killing.beside is not None and chance.random() < 0.3:
            chosen.append(story.killing.beside.kill_and_start_again)
        return chosen

    for place, night in enumerate(story.nights):
        story.take_in(night)
        if place and chance.random() < 0.4:
            story.promote(deaths=chance.choice((1, 2)))
        if place and chance.random() < 0.3:
            story.raise_file()
        story.nightly(night, deaths=deaths(), meanwhile=meanwhile())
        if chance.random() < 0.3:
            story.backfill(deaths=deaths(), meanwhile=meanwhile())
    story.end()
    story.backfill(deaths=2)
    assert_exact(story)
    assert story.killing.kills >= 1


@pytest.fixture
def eight_nights(postgres_url: Callable[[], str], tmp_path: Path) -> Iterator[ActivationStory]:
    urls = {"SPOTCHECK_DATABASE_URL": postgres_url(), "SPOTCHECK_BROKER_URL": f"filesystem://{tmp_path / 'broker'}"}
    with (
        JudgeServer(lambda request, headers: Answer(500)) as server,
        closing(ActivationStory(tmp_path, urls, server, Random(0), NIGHTS)) as story,
    ):
        for night in story.nights:
            story.take_in(night)
        yield story


def test_processes_that_draw_at_once_agree_on_what_is_active(eight_nights: ActivationStory) -> None:
    story = eight_nights
    story.nightly_at_once(story.nights[:3])
    story.raise_file()
    story.nightly_at_once(story.nights[3:6])
    for night in story.nights[6:]:
        story.nightly(night, deaths=0)
    assert [one.version for one in story.promotions()] == ["1.0.0", "1.1.0"]
    versions = story.versions_by_night()
    assert [versions[night] for night in story.nights] == 3 * [{"1.0.0"}] + 5 * [{"1.1.0"}]
    assert_exact(story)
    assert len(rows(story.project, select(core(RevisionRow).c.number))) == 2
