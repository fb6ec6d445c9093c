"""A heuristic's settings are part of its series: a changed one is no drift, and an upgrade starts none."""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from tests.support.project import (
    MONDAY,
    Installation,
    assert_reconciles,
    document,
    draw_nights,
    everything,
    ingest,
    job,
    nightly,
    rows,
    scorer,
    wait,
)
from worker.project.project import Project
from worker.store.tables import FindingRow, TrendRow, core

trend, finding = core(TrendRow), core(FindingRow)
NIGHTS = [MONDAY + timedelta(days=offset) for offset in range(35)]
CHANGED = 28
"""From this night on the schema asks for more."""
LOOSE = """\
[sampling]
rate = 1.0
[scoring]
heuristics = ["valid_json", "answer_present"]
rubrics = []
[scoring.schemas.faq]
type = "object"
required = ["hours"]
"""
TIGHT = LOOSE.replace('["hours"]', '["hours", "source"]')


def answers(nights: Sequence[date]) -> list[dict[str, Any]]:
    """Eight answers a night, of which every second has what the tight schema asks for."""
    made = []
    for night in nights:
        for number in range(8):
            output = {"hours": 9} | ({"source": "page 1"} if number % 2 else {})
            case = f"case-{night:%m%d}-{number}"
            made.append(document(case, night, task_type="faq", output=json.dumps(output)))
    return made


def series(project: Project) -> list[tuple[str, int]]:
    """The series of `valid_json`, oldest first, with how many runs each has scored."""
    counted = (
        select(scorer.c.series, func.count(job.c.pk))
        .join(job, job.c.scorer_pk == scorer.c.pk)
        .where(scorer.c.name == "valid_json", job.c.state == "scored")
        .group_by(scorer.c.pk, scorer.c.series)
        .order_by(scorer.c.pk)
    )
    return [(str(name), int(count)) for name, count in rows(project, counted)]


def test_a_tightened_schema_is_a_new_series_and_no_drift_and_the_old_one_comes_back_with_the_old_schema(
    installation: Installation,
) -> None:
    loose = installation.project(LOOSE)
    ingest(loose, answers(NIGHTS))
    assert nightly(loose, NIGHTS[:CHANGED]).still_open == 0
    ((first, count),) = series(loose)
    assert count == CHANGED * 8

    tight = installation.project(TIGHT)
    told: list[str] = []
    tight.scorers.on_told = told.append
    nightly(tight, NIGHTS[CHANGED:-1])
    assert [name for name, _ in series(tight)] == [first, series(tight)[1][0]]
    assert told == [f"valid_json: new series {series(tight)[1][0]}, not compared with {first}; changed: settings"]
    assert rows(tight, select(finding.c.scorer)) == []
    means = rows(
        tight,
        select(scorer.c.series, func.min(trend.c.mean), func.max(trend.c.mean))
        .join(scorer, scorer.c.pk == trend.c.scorer_pk)
        .where(scorer.c.name == "valid_json", trend.c.dimension == "task_type")
        .group_by(scorer.c.series),
    )
    assert {name: (round(low, 3), round(high, 3)) for name, low, high in means} == {
        first: (1.0, 1.0),
        series(tight)[1][0]: (0.5, 0.5),
    }

    back = installation.project(LOOSE)
    before = everything(back)
    nightly(back, NIGHTS[:-1])
    assert everything(back) == before, "nothing is scored again"
    nightly(back, NIGHTS[-1:])
    assert dict(series(back))[first] == (CHANGED + 1) * 8
    assert len(series(back)) == 2
    assert_reconciles(back)


def as_release_0_1_left_it(project: Project) -> None:
    """The fingerprint and series of `valid_json` as they were before its settings entered them."""
    (key,) = (scorer.key for scorer in project.scorers.all if scorer.key.name == "valid_json")
    spec = {name: value for name, value in key.spec.items() if name != "settings"}
    with project.store.write() as connection:
        former = {"fingerprint": key.former_fingerprint, "series": "1", "spec": spec}
        connection.execute(update(scorer).where(scorer.c.name == "valid_json").values(**former))


@pytest.fixture
def upgraded(installation: Installation) -> Project:
    """Two nights of release 0.1, the second one's jobs still open."""
    project = installation.project(LOOSE)
    ingest(project, answers(NIGHTS[:4]))
    nightly(project, NIGHTS[:1])
    draw_nights(project, NIGHTS[1:2])
    as_release_0_1_left_it(project)
    return project


def test_an_upgrade_starts_no_series_scores_nothing_again_and_loses_no_job(
    installation: Installation, upgraded: Project
) -> None:
    before, stored = everything(upgraded), rows(upgraded, select(scorer.c.pk, scorer.c.series))
    projects = [installation.project(LOOSE) for _ in range(4)]
    told: list[str] = []
    barrier = threading.Barrier(len(projects))

    def register(project: Project) -> list[tuple[int, str]]:
        project.scorers.on_told = told.append
        barrier.wait()
        return [(entry.pk, entry.key.series) for entry, _ in project.scorers.register()]

    with ThreadPoolExecutor(len(projects)) as pool:
        found = list(pool.map(register, projects))
    assert found == [found[0]] * len(projects)
    assert rows(upgraded, select(scorer.c.pk, scorer.c.series)) == stored
    assert ("valid_json", "1") in rows(upgraded, select(scorer.c.name, scorer.c.series))
    assert everything(upgraded) == before
    settings = '{"schemas": {"faq": {"required": ["hours"], "type": "object"}}}'
    assert told == [f"valid_json: series 1 of an earlier release goes on, with the settings of now: {settings}"]
    assert wait(projects[0]).still_open == 0
    assert series(projects[0]) == [("1", 16)]
    assert_reconciles(projects[0], pending=2 * 2 * 8)  # nights that are not drawn yet


def test_the_settings_at_the_upgrade_define_the_series_and_later_ones_start_others(
    installation: Installation, upgraded: Project
) -> None:
    tight = installation.project(TIGHT)
    wait(tight)
    nightly(tight, NIGHTS[1:3])
    assert series(tight) == [("1", 24)]
    loose = installation.project(LOOSE)
    nightly(loose, NIGHTS[3:4])
    ((_, _), (other, count)) = series(loose)
    assert (other.startswith("1+"), count) == (True, 8)


def register_as_0_1_does(project: Project) -> int:
    """Look for `valid_json` by its fingerprint, and store it where there is none, as release 0.1 does all the time.

    Returns:
        Its key in the store.
    """
    (one,) = (scorer for scorer in project.scorers.all if scorer.key.name == "valid_json")
    row = {
        "name": one.key.name,
        "version": one.key.version,
        "series": "1",
        "kind": one.key.kind,
        "fingerprint": one.key.former_fingerprint,
        "spec": {name: value for name, value in one.key.spec.items() if name != "settings"},
        "applies_to": {field: list(values) for field, values in one.applies_to._asdict().items()},
        "created_at": now(project),
    }
    with project.store.write() as connection:
        by_fingerprint = select(scorer.c.pk).where(scorer.c.fingerprint == row["fingerprint"])
        pk = connection.execute(by_fingerprint).scalar()
        if pk is None:
            connection.execute(insert(scorer).values(**row))
            pk = connection.execute(by_fingerprint).scalar_one()
    return int(pk)


def test_a_process_of_the_old_release_that_still_runs_finds_its_scorer_and_stores_no_second_one(
    installation: Installation, upgraded: Project
) -> None:
    ((before,),) = rows(upgraded, select(scorer.c.pk).where(scorer.c.name == "valid_json"))
    project = installation.project(LOOSE)
    project.scorers.register()
    assert register_as_0_1_does(project) == before
    assert installation.project(LOOSE).scorers.register()[0][0].pk == before
    told: list[str] = []
    tight = installation.project(TIGHT)
    tight.scorers.on_told = told.append
    ((after, series_after),) = (
        (entry.pk, entry.key.series) for entry, _ in tight.scorers.register() if entry.key.name == "valid_json"
    )
    assert series_after.startswith("1+"), "it is not taken for the row from before the upgrade"
    assert told == [f"valid_json: new series {series_after}, not compared with 1; changed: settings"]
    assert register_as_0_1_does(project) == before
    assert rows(tight, select(scorer.c.pk).where(scorer.c.name == "valid_json")) == [(before,), (after,)]
    assert wait(installation.project(LOOSE)).still_open == 0


def now(project: Project) -> Any:
    with project.store.read() as connection:
        return project.store.now(connection)
