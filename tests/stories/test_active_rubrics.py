"""Rubric files and settings that change while nights are drawn and scored: one night has one version of a rubric."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.project import (
    MONDAY,
    PLAIN,
    Installation,
    assert_reconciles,
    document,
    draw_nights,
    ingest,
    nightly,
    rows,
    states,
    wait,
)
from worker.demo.judge.server import MODEL, refused
from worker.errors import RubricError, SettingsError
from worker.jobs.processor import JobProcessor
from worker.pipeline.draw import draw_night
from worker.pipeline.nightly import finish
from worker.pipeline.promote import find_text, promote
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.queries.rubric_versions import chosen, file_lines, versions
from worker.scorers.rubric.files import shipped_prompts
from worker.store.rubrics import revisions, texts
from worker.store.tables import EnrolmentRow, JobRow, NightRow, RevisionRow, ScorerRow, core

job, scorer, enrolment, night_table, revision = (
    core(row) for row in (JobRow, ScorerRow, EnrolmentRow, NightRow, RevisionRow)
)
TUESDAY, WEDNESDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)
RUNS = 6
NAME = "task_completion"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A team's folder with a rubric of its own, version 1.0.0."""
    folder = tmp_path / "prompts"
    shutil.copytree(shipped_prompts(), folder)
    for path in folder.glob("*.rubric.md.j2"):
        if not path.name.startswith(NAME):
            path.unlink()
    return folder


def edit(prompts: Path, version: str, words: str = "A partial result") -> None:
    """Save another text under a version."""
    path = prompts / f"{NAME}.rubric.md.j2"
    text = (shipped_prompts() / path.name).read_text(encoding="utf-8")
    assert "a partial result" in text
    changed = text.replace("version: 1.0.0", f"version: {version}").replace("a partial result", words)
    path.write_text(changed, encoding="utf-8")


def project_of(installation: Installation, prompts: Path, **environ: str) -> Project:
    return installation.project(SPOTCHECK_PROMPTS=str(prompts), **environ)


def runs_of(night: date, count: int = RUNS, *, start: int = 0) -> list[dict[str, object]]:
    return [document(f"case-{night:%d}-{number}", night) for number in range(start, start + count)]


def by_night(project: Project) -> dict[date, dict[str, tuple[str, int]]]:
    """The judge's jobs by night and version: their state, and how many; asserts that there is one state."""
    found: dict[date, dict[str, tuple[str, int]]] = {}
    statement = select(job.c.night, scorer.c.version, job.c.state).join(scorer, scorer.c.pk == job.c.scorer_pk)
    for night, version, state in rows(project, statement.where(scorer.c.kind == "judge")):
        before = found.setdefault(night, {}).get(version, (state, 0))
        assert before[0] == state
        found[night][version] = (state, before[1] + 1)
    return found


def numbers(project: Project) -> list[int]:
    return [number for (number,) in rows(project, select(revision.c.number).order_by(revision.c.number))]


def listening(project: Project) -> list[str]:
    told: list[str] = []
    project.scorers.on_told = told.append
    return told


def test_a_night_ends_with_the_version_it_was_drawn_with_also_when_its_draw_grows(
    installation: Installation, prompts: Path
) -> None:
    project = project_of(installation, prompts)
    ingest(project, runs_of(MONDAY) + runs_of(TUESDAY))
    draw_nights(project, [MONDAY])
    edit(prompts, "1.1.0")
    ingest(project, runs_of(MONDAY, 3, start=RUNS))  # late runs
    other = project_of(installation, prompts)  # a worker that was started after the edit
    assert wait(other).still_open == 0
    told = listening(other)
    draw_nights(other, [MONDAY], rate=1.0)
    assert by_night(other) == {MONDAY: {"1.0.0": ("scored", RUNS + 3)}}
    assert told == [], "a night that is drawn keeps its version, and makes none active"
    assert nightly(other, [TUESDAY]).still_open == 0
    assert by_night(other)[TUESDAY] == {"1.1.0": ("scored", RUNS)}
    assert len(told) == 2
    assert "1.1.0 is active from night 2026-09-08 on" in told[0]
    assert "new series 1.1.0+" in told[1]
    assert numbers(other) == [1, 2]
    assert rows(other, select(night_table.c.night, night_table.c.revision).order_by(night_table.c.night)) == [
        (MONDAY, 1),
        (TUESDAY, 2),
    ]
    assert_reconciles(other)


def test_a_worker_scores_from_the_store_whatever_lies_in_its_folder(
    installation: Installation, prompts: Path, tmp_path: Path
) -> None:
    project = project_of(installation, prompts)
    ingest(project, runs_of(MONDAY))
    draw_nights(project, [MONDAY])
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / f"{NAME}.rubric.md.j2").write_text("---\nname: [\n", encoding="utf-8")
    for folder in (empty, broken):
        worker = project_of(installation, folder)
        with JobProcessor(worker) as processor:
            processor.drain("judge", stop=_after(installation, len(installation.asked) + 2))
        reconcile(worker, datetime.now(UTC), lambda lane, due: None)
    assert wait(project_of(installation, broken)).still_open == 0
    assert by_night(project) == {MONDAY: {"1.0.0": ("scored", RUNS)}}
    assert len(installation.asked) == RUNS


def _after(installation: Installation, count: int) -> Callable[[], bool]:
    return lambda: len(installation.asked) >= count


@pytest.mark.parametrize(
    ("version", "words", "said"),
    [
        ("1.0.0", "another text", "its version 1.0.0 is not higher than 1.0.0: it is refused"),
        ("0.9.0", "another text", "its version 0.9.0 is not higher than 1.0.0: it is refused"),
        ("1.0.0-rc.1", "another text", "is not higher than 1.0.0"),
    ],
)
def test_a_text_that_changed_without_a_higher_version_is_refused_in_one_line_and_the_old_one_goes_on(
    installation: Installation, prompts: Path, version: str, words: str, said: str
) -> None:
    first = project_of(installation, prompts)
    ingest(first, runs_of(MONDAY) + runs_of(TUESDAY))
    nightly(first, [MONDAY])
    edit(prompts, version, words)
    second = project_of(installation, prompts)
    told = listening(second)
    nightly(second, [TUESDAY])
    nightly(second, [TUESDAY])
    assert [line for line in told if said in line] == told
    assert len(told) == 1
    assert by_night(second)[TUESDAY] == {"1.0.0": ("scored", RUNS)}
    assert numbers(second) == [1]
    with pytest.raises(SettingsError, match="raise its version") if version == "1.0.0" else _nothing():
        promote(second, find_text(second, NAME, None), datetime.now(UTC), by="ana", why="it is better")


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def test_a_broken_or_missing_file_stops_nothing_while_its_text_is_stored_and_a_mended_one_is_taken(
    installation: Installation, prompts: Path
) -> None:
    path = prompts / f"{NAME}.rubric.md.j2"
    first = project_of(installation, prompts)
    ingest(first, [*runs_of(MONDAY), *runs_of(TUESDAY), *runs_of(WEDNESDAY)])
    nightly(first, [MONDAY])

    path.write_text("---\nname: [\n", encoding="utf-8")
    second = project_of(installation, prompts)
    told = listening(second)
    nightly(second, [TUESDAY])
    assert len(told) == 1
    assert f"{path}:" in told[0]
    assert "task_completion 1.0.0 goes on from the store" in told[0]
    assert by_night(second)[TUESDAY] == {"1.0.0": ("scored", RUNS)}

    edit(prompts, "1.1.0")
    nightly(project_of(installation, prompts), [WEDNESDAY])
    assert by_night(second)[WEDNESDAY] == {"1.1.0": ("scored", RUNS)}


def test_a_broken_file_that_no_scorer_needs_is_a_warning_and_one_that_is_wanted_first_is_an_error(
    installation: Installation, prompts: Path
) -> None:
    (prompts / "other.rubric.md.j2").write_text("---\nname: [\n", encoding="utf-8")
    project = project_of(installation, prompts)
    ingest(project, runs_of(MONDAY))
    told = listening(project)
    assert nightly(project, [MONDAY]).still_open == 0
    project.scorers.tell_warnings()
    assert len(told) == 1
    assert "other.rubric.md.j2:" in told[0]
    assert told[0].endswith("no scorer needs it")
    wants = PLAIN.replace("[scoring]", f'[scoring]\nrubrics = ["{NAME}", "other"]')
    both = installation.project(wants, SPOTCHECK_PROMPTS=str(prompts))
    ingest(both, runs_of(TUESDAY))
    with pytest.raises(RubricError, match=r"other\.rubric\.md\.j2:"):
        draw_night(both, TUESDAY, datetime.now(UTC))
    assert TUESDAY not in by_night(both)


def test_a_person_goes_back_and_forward_and_every_step_is_a_new_revision(
    installation: Installation, prompts: Path
) -> None:
    project = project_of(installation, prompts)
    nights = [MONDAY + timedelta(days=offset) for offset in range(4)]
    ingest(project, [run for night in nights for run in runs_of(night)])
    nightly(project, nights[:1])
    edit(prompts, "1.1.0")
    project.scorers.reread()
    nightly(project, nights[1:2])

    back = promote(project, find_text(project, NAME, "1.0.0"), datetime.now(UTC), by="ana", why="1.1.0 is too strict")
    assert back.is_new
    assert back.before is not None
    assert back.before.version == "1.1.0"
    told = listening(project)
    nightly(project, nights[2:3])
    assert len(told) == 1
    assert "which was active before; task_completion 1.0.0 goes on" in told[0]

    again = promote(project, find_text(project, NAME, None), datetime.now(UTC), by="ana", why="it was right")
    assert again.text.version == "1.1.0"
    assert not promote(project, again.text, datetime.now(UTC), by="ana", why="twice").is_new
    nightly(project, nights[3:])
    assert [next(iter(by_night(project)[night])) for night in nights] == ["1.0.0", "1.1.0", "1.0.0", "1.1.0"]
    assert numbers(project) == [1, 2, 3, 4]
    found = versions(project, NAME)
    assert [one.text.version for one in found] == ["1.0.0", "1.1.0"]
    assert [len(one.promotions) for one in found] == [2, 2]
    assert [len(one.series) for one in found] == [1, 1], "going back continues the series"
    now_active = chosen(found, None)
    assert now_active is not None
    assert now_active.text.version == "1.1.0"
    assert now_active.active_series == found[1].series[0].key.series
    assert now_active.promotions[-1].proof == {"unproved": "it was right"}


def test_who_has_no_judge_promotes_and_draws_for_those_who_have_one(installation: Installation, prompts: Path) -> None:
    project = project_of(installation, prompts)
    ingest(project, [*runs_of(MONDAY), *runs_of(TUESDAY), *runs_of(WEDNESDAY)])
    nightly(project, [MONDAY])
    laptop = project_of(installation, prompts, SPOTCHECK_JUDGE_MODEL="")
    draw_nights(laptop, [TUESDAY])
    edit(prompts, "1.1.0")
    laptop.scorers.reread()
    promote(laptop, find_text(laptop, NAME, None), datetime.now(UTC), by="ana", why="from a laptop")
    draw_nights(laptop, [WEDNESDAY])
    assert wait(laptop).still_open == 0, "it waits for nothing that it cannot do"
    assert states(laptop)["queued"] == 2 * RUNS
    assert wait(project).still_open == 0
    assert by_night(project)[TUESDAY] == {"1.0.0": ("scored", RUNS)}
    assert by_night(project)[WEDNESDAY] == {"1.1.0": ("scored", RUNS)}
    assert {request["model"] for request in installation.asked} == {MODEL}


def test_of_two_processes_with_other_settings_the_later_draws_and_the_other_says_so_and_takes_no_turn(
    installation: Installation, prompts: Path
) -> None:
    nights = [MONDAY + timedelta(days=offset) for offset in range(4)]
    old = project_of(installation, prompts)
    old.known_revision = 0  # as a process that stays: its settings were read when nothing was active
    ingest(old, [run for night in nights for run in runs_of(night)])
    draw_nights(old, nights[:1])
    new = project_of(installation, prompts, SPOTCHECK_JUDGE_MODEL="another")
    new.known_revision = 1
    draw_nights(new, nights[1:2])
    told = listening(old)
    draw_nights(old, nights[2:3])
    healed = reconcile(old, datetime.now(UTC), lambda lane, due: None)
    assert healed.trouble is not None
    assert "task_completion: model is simulated-judge here, another there" in healed.trouble
    assert told == [healed.trouble]
    assert reconcile(new, datetime.now(UTC), lambda lane, due: None).trouble is None
    assert wait(old).still_open == 0
    assert numbers(old) == [1, 2], "they do not take turns"
    statement = (
        select(enrolment.c.night, scorer.c.spec)
        .join(scorer, scorer.c.pk == enrolment.c.scorer_pk)
        .where(scorer.c.kind == "judge")
        .order_by(enrolment.c.night)
    )
    assert [spec["model"] for _, spec in rows(old, statement)] == [MODEL, "another", "another"]
    assert set(states(old)) == {"scored"}, "nothing is shed"

    restarted = project_of(installation, prompts)
    restarted.known_revision = 2
    draw_nights(restarted, nights[3:])
    assert numbers(restarted) == [1, 2, 3], "who is started again means it"
    assert reconcile(new, datetime.now(UTC), lambda lane, due: None).trouble is not None


def test_a_process_that_stays_goes_along_with_a_promotion(installation: Installation, prompts: Path) -> None:
    staying = project_of(installation, prompts)
    staying.known_revision = 0
    ingest(staying, [*runs_of(MONDAY), *runs_of(TUESDAY), *runs_of(WEDNESDAY)])
    draw_nights(staying, [MONDAY])
    edit(prompts, "1.1.0")
    laptop = project_of(installation, prompts)
    promote(laptop, find_text(laptop, NAME, None), datetime.now(UTC), by="ana", why="a typo")
    draw_nights(staying, [TUESDAY])
    assert reconcile(staying, datetime.now(UTC), lambda lane, due: None).trouble is None
    edit(prompts, "1.2.0", "no part")
    staying.scorers.reread()
    draw_nights(staying, [WEDNESDAY])
    assert [next(iter(by_night(staying)[night])) for night in (MONDAY, TUESDAY, WEDNESDAY)] == [
        "1.0.0",
        "1.1.0",
        "1.2.0",
    ]


def test_open_jobs_of_a_heuristic_are_scored_with_the_settings_they_were_enrolled_with(
    installation: Installation,
) -> None:
    loose = PLAIN.replace('["answer_present"]', '["valid_json"]') + '[scoring.schemas.refund]\ntype = "string"\n'
    tight = loose.replace('"string"', '"object"')
    project = installation.project(loose)
    ingest(project, [document(f"case-{number}", output='"done"') for number in range(RUNS)])
    draw_nights(project, [MONDAY])
    other = installation.project(tight)
    assert wait(other).still_open == 0
    found = rows(other, select(job.c.state, scorer.c.series).join(scorer, scorer.c.pk == job.c.scorer_pk))
    assert len({series for state, series in found if "+" in series and state == "scored"}) == 2  # rubric and heuristic
    with other.store.read() as connection:
        values = {row.value for row in connection.exec_driver_sql("SELECT value FROM score").all()}
    assert values == {1.0}, "as strings they are valid, as the schema of the draw says"


def test_a_server_without_the_model_leaves_the_jobs_and_other_rubrics_go_on(
    installation: Installation, prompts: Path
) -> None:
    text = (prompts / f"{NAME}.rubric.md.j2").read_text(encoding="utf-8")
    second = text.replace(f"name: {NAME}", "name: second").replace("judge:\n", "judge:\n  model: elsewhere\n")
    assert "model: elsewhere" in second
    (prompts / "second.rubric.md.j2").write_text(second, encoding="utf-8")
    wants = PLAIN.replace("[scoring]", f'[scoring]\nrubrics = ["{NAME}", "second"]')
    project = installation.project(wants, SPOTCHECK_PROMPTS=str(prompts))
    ingest(project, runs_of(MONDAY))
    draw_nights(project, [MONDAY])
    missing = refused(404, "The model `elsewhere` does not exist", code="model_not_found")
    answer = installation.judge.answer
    installation.judge.answer = lambda request, headers: (
        missing if request["model"] == "elsewhere" else answer(request, headers)
    )
    with JobProcessor(project) as processor:
        done = processor.drain("judge")
        assert done.refused is None
        assert states(project) == {"scored": RUNS, "queued": RUNS}
        assert "elsewhere" in str(processor.missing_models.line())
        asked = len(installation.asked)
        processor.drain("judge")
        assert len(installation.asked) == asked, "it is not asked again for a while"
    open_jobs = rows(project, select(job.c.attempt, job.c.state).where(job.c.state == "queued"))
    assert {attempt for attempt, _ in open_jobs} == {0}, "none has spent an attempt"
    installation.judge.answer = answer
    with JobProcessor(project) as processor:  # another worker, whose server has it
        processor.drain("judge")
    assert states(project) == {"scored": 2 * RUNS}


def test_a_process_stops_when_the_schema_moves_on_under_it(installation: Installation, prompts: Path) -> None:
    project = project_of(installation, prompts)
    ingest(project, runs_of(MONDAY))
    draw_nights(project, [MONDAY])
    with project.store.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with JobProcessor(project) as processor, pytest.raises(Exception, match="claims nothing more"):
        processor.drain("judge")
    assert installation.asked == []


def test_texts_are_stored_with_what_they_include(installation: Installation, prompts: Path) -> None:
    project = project_of(installation, prompts)
    ingest(project, runs_of(MONDAY))
    draw_nights(project, [MONDAY])
    with project.store.read() as connection:
        (stored,) = texts.texts_named(connection, NAME)
        now_active = revisions.current(connection)
    assert stored.includes
    assert now_active is not None
    assert now_active.policy["rate"] == 1.0
    shutil.rmtree(prompts / "_shared")
    assert wait(project_of(installation, prompts)).still_open == 0


def test_a_version_to_go_back_to_is_named_in_full(installation: Installation, prompts: Path) -> None:
    project = project_of(installation, prompts)
    ingest(project, runs_of(MONDAY))
    draw_nights(project, [MONDAY])
    with project.store.read() as connection:
        (stored,) = texts.texts_named(connection, NAME)
    assert find_text(project, NAME, stored.hash[:6]) == stored
    for wanted in ("", stored.hash[:1], stored.hash[:5], "1", "1.0"):
        with pytest.raises(SettingsError, match="has no version"):
            find_text(project, NAME, wanted)


def test_who_takes_a_scorer_away_or_goes_back_to_an_earlier_judge_is_told_so(
    installation: Installation, prompts: Path
) -> None:
    toml = '[sampling]\nrate = 1.0\n[scoring]\nheuristics = ["answer_present"]\nrubrics = [{}]\n'
    first = installation.project(toml.format(f'"{NAME}"'), SPOTCHECK_PROMPTS=str(prompts))
    ingest(first, [*runs_of(MONDAY), *runs_of(TUESDAY), *runs_of(WEDNESDAY)])
    draw_nights(first, [MONDAY])
    other = installation.project(
        toml.format(f'"{NAME}"'), SPOTCHECK_PROMPTS=str(prompts), SPOTCHECK_JUDGE_MODEL="another"
    )
    told = listening(other)
    draw_nights(other, [TUESDAY])
    assert [line for line in told if "new series" in line and "changed: model" in line]
    told = listening(first)
    draw_nights(first, [WEDNESDAY])
    (line,) = told
    assert "goes on, not compared with" in line
    without = installation.project(toml.format(""), SPOTCHECK_PROMPTS=str(prompts))
    told = listening(without)
    reconcile(without, datetime.now(UTC), lambda lane, due: None)
    (line,) = told
    assert line.startswith(f"{NAME} is not wanted any more")
    assert "shed" in states(without)


def test_a_promotion_leaves_the_judge_as_it_is_whatever_this_machine_has(
    installation: Installation, prompts: Path
) -> None:
    project = project_of(installation, prompts)
    ingest(project, [*runs_of(MONDAY), *runs_of(TUESDAY)])
    draw_nights(project, [MONDAY])
    edit(prompts, "1.1.0")
    laptop = project_of(installation, prompts, SPOTCHECK_JUDGE_MODEL="another")
    done = promote(laptop, find_text(laptop, NAME, None), datetime.now(UTC), by="ana", why="a typo")
    assert done.scorer is not None
    assert done.scorer.key.spec["model"] == MODEL
    draw_nights(project, [TUESDAY])
    assert numbers(project) == [1, 2], "what the project's own settings give is what was promoted"


def test_who_scores_in_another_folder_takes_no_rubric_away(installation: Installation, prompts: Path) -> None:
    project = project_of(installation, prompts)
    ingest(project, runs_of(MONDAY))
    draw_nights(project, [MONDAY])
    elsewhere = installation.project(PLAIN.replace("[scoring]", "[scoring]\nrubrics = []"))
    reconcile(elsewhere, datetime.now(UTC), lambda lane, due: None, may_remove=False)
    assert numbers(project) == [1]
    assert states(project) == {"queued": RUNS}


def test_what_becomes_of_a_file_is_told_in_one_line(installation: Installation, prompts: Path) -> None:
    first = project_of(installation, prompts)
    ingest(first, runs_of(MONDAY))
    draw_nights(first, [MONDAY])
    edit(prompts, "1.1.0")
    assert file_lines(project_of(installation, prompts)) == {
        NAME: "1.1.0 is a draft, and scores from the next night that is drawn on"
    }
    first.scorers.reread()
    promote(first, find_text(first, NAME, None), datetime.now(UTC), by="ana", why="a typo")
    assert file_lines(project_of(installation, prompts)) == {}
    edit(prompts, "1.1.0", "another text")
    assert "it is refused" in file_lines(project_of(installation, prompts))[NAME]
    (prompts / f"{NAME}.rubric.md.j2").unlink()
    assert file_lines(project_of(installation, prompts))[NAME].startswith(
        "there is only the shipped task_completion 1.0.0, another text; task_completion 1.1.0 goes on from the store ("
    )


def test_a_prompts_folder_that_is_gone_stops_nothing_that_is_stored(installation: Installation, prompts: Path) -> None:
    project = project_of(installation, prompts)
    ingest(project, [*runs_of(MONDAY), *runs_of(TUESDAY)])
    nightly(project, [MONDAY])
    shutil.rmtree(prompts)
    gone = project_of(installation, prompts)
    told = listening(gone)
    assert nightly(gone, [TUESDAY]).still_open == 0
    assert by_night(gone)[TUESDAY] == {"1.0.0": ("scored", RUNS)}
    assert len(told) == 1
    assert "does not exist" in told[0]
    assert "goes on from the store" in told[0]


def higher_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release of Spotcheck with a higher version of the rubric, in a folder without prompts of its own."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "shipped"
    shutil.copytree(shipped_prompts(), folder)
    edit(folder, "3.0.0", "A shipped half result")
    monkeypatch.setattr("worker.scorers.rubric.files.shipped_prompts", lambda: folder)
    return folder


def active_version(project: Project) -> str:
    with project.store.read() as connection:
        return texts.active(connection)[NAME].version


@pytest.mark.parametrize("way", ["unset", "file gone"])
def test_a_teams_text_is_not_replaced_by_a_higher_shipped_one_by_itself(
    installation: Installation, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    edit(prompts, "1.1.0")
    project = project_of(installation, prompts)
    ingest(project, [*runs_of(MONDAY), *runs_of(TUESDAY), *runs_of(WEDNESDAY)])
    draw_nights(project, [MONDAY])
    higher_shipped(tmp_path, monkeypatch)
    if way == "file gone":
        (prompts / f"{NAME}.rubric.md.j2").unlink()
    after = project_of(installation, prompts) if way == "file gone" else installation.project()
    told: list[str] = []
    after.scorers.on_told = told.append
    draw_nights(after, [TUESDAY])
    assert active_version(after) == "1.1.0"
    (line,) = [line for line in told if NAME in line]
    assert line.startswith(
        f"{NAME} 1.1.0 came from a prompts folder of your own, which holds it no more or is not read"
    )
    assert f"spotcheck rubric promote {NAME} --version 3.0.0 --unproved WHY" in line
    assert file_lines(after)[NAME] == line
    promote(after, find_text(after, NAME, "3.0.0"), datetime.now(UTC), by="ann", why="the shipped one is better")
    edit(tmp_path / "shipped", "3.1.0", "A further half result")
    again = project_of(installation, prompts) if way == "file gone" else installation.project()
    draw_nights(again, [WEDNESDAY])
    assert active_version(again) == "3.1.0", "of a shipped text the next release's goes on by itself"


def test_going_back_to_a_teams_text_keeps_where_it_came_from(
    installation: Installation, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(prompts, "1.1.0")
    project = project_of(installation, prompts)
    ingest(project, [*runs_of(MONDAY), *runs_of(TUESDAY)])
    draw_nights(project, [MONDAY])
    higher_shipped(tmp_path, monkeypatch)
    shipped = installation.project()
    promote(shipped, find_text(shipped, NAME, "3.0.0"), datetime.now(UTC), by="ann", why="a try")
    promote(shipped, find_text(shipped, NAME, "1.1.0"), datetime.now(UTC), by="ann", why="back")
    edit(tmp_path / "shipped", "3.1.0", "A further half result")
    draw_nights(installation.project(), [TUESDAY])
    assert active_version(project) == "1.1.0"


def test_a_night_whose_judge_came_later_is_compared_once_that_judge_has_scored(
    installation: Installation, prompts: Path
) -> None:
    without = project_of(installation, prompts, SPOTCHECK_JUDGE_MODEL="")
    ingest(without, runs_of(MONDAY))
    assert nightly(without, [MONDAY]).still_open == 0

    def compared_at() -> datetime:
        ((at,),) = rows(without, select(night_table.c.compared_at).where(night_table.c.night == MONDAY))
        assert isinstance(at, datetime), "a comparison that is only to be repeated stands until then"
        return at

    before = compared_at()
    judged = project_of(installation, prompts)
    draw_nights(judged, [MONDAY])
    finish(judged, datetime.now(UTC))
    assert compared_at() == before, "nothing new is scored, so there is nothing to compare"
    assert wait(judged).still_open == 0
    finish(judged, datetime.now(UTC))
    assert compared_at() > before
    once = compared_at()
    finish(judged, datetime.now(UTC))
    assert compared_at() == once
