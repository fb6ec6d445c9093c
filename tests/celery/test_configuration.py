"""`spotcheck.toml` and rubric files that change under a process that stays."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.project import MONDAY, document, draw_nights, ingest
from worker.celery.configuration import ConfigurationNotice, DrawSettings, are_from_here
from worker.celery.process import WorkerProcess, this_process
from worker.celery.tasks import drain_heuristics, drain_judge, reconcile_now, tick
from worker.demo.judge.server import MODEL, Answer, JudgeServer, refused
from worker.pipeline.activate import activate
from worker.pipeline.reconcile import reconcile
from worker.project.project import Project
from worker.settings import Settings, read_here
from worker.store import meta
from worker.store.health import LAST_TICK
from worker.store.queue import workers
from worker.store.rubrics import revisions


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Path:
    """A project's folder with its settings, which the process is in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOTCHECK_DATABASE_URL", database_url)
    for name in ("SPOTCHECK_JUDGE_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "SPOTCHECK_PROMPTS"):
        monkeypatch.delenv(name, raising=False)
    _write(tmp_path, 0.1)
    return tmp_path


def _write(folder: Path, rate: float) -> None:
    (folder / "spotcheck.toml").write_text(f"[sampling]\nrate = {rate}\n", encoding="utf-8")


def _policy(project: Project) -> float:
    """The rate of the revision in force, after a draw's activation."""
    project.secret  # noqa: B018 stored before the transaction below
    with project.store.write() as connection:
        return activate(project, connection, datetime(2026, 9, 7, tzinfo=UTC).date(), datetime.now(UTC)).sampling.rate


def test_settings_that_change_under_a_process_hold_from_its_next_draw_and_a_wrong_file_changes_nothing(
    folder: Path,
) -> None:
    opened = Project(read_here()[0]).open()
    try:
        draw = DrawSettings(opened, is_from_here=are_from_here(opened.settings))
        assert _policy(draw.reread()) == 0.1
        _write(folder, 0.2)
        assert _policy(draw.reread()) == 0.2
        (folder / "spotcheck.toml").write_text("[sampling\n", encoding="utf-8")
        assert _policy(draw.reread()) == 0.2
        _write(folder, 0.1)
        assert _policy(draw.reread()) == 0.1
        with opened.store.read() as connection:
            now_active = revisions.current(connection)
        assert now_active is not None
        assert now_active.number == 3, "going back is a new revision"
    finally:
        opened.store.close()


def test_of_two_children_in_one_folder_the_second_follows_the_first_without_a_complaint(folder: Path) -> None:
    opened = Project(read_here()[0]).open()
    try:
        first, second = (DrawSettings(Project(opened.settings, opened.store), is_from_here=True) for _ in range(2))
        assert _policy(first.reread()) == _policy(second.reread()) == 0.1
        _write(folder, 0.2)
        assert _policy(first.reread()) == 0.2
        healed = reconcile(second.reread(with_rubrics=False), datetime.now(UTC), lambda lane, due: None)
        assert healed.trouble is None
        elsewhere = DrawSettings(Project(opened.settings, opened.store), is_from_here=False)  # settings of before
        elsewhere.reread().known_revision = 1
        stale = reconcile(elsewhere.reread(), datetime.now(UTC), lambda lane, due: None)
        assert stale.trouble is not None
        assert "sampling.rate" in stale.trouble
    finally:
        opened.store.close()


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_child_that_is_forked_later_does_not_take_its_workers_settings_for_the_newest(
    folder: Path, *, is_edited: bool
) -> None:
    """Celery replaces a child after 500 tasks; with each the worker's settings would have been activated again."""
    worker = WorkerProcess()
    worker.use(read_here()[0])
    opened = worker.project
    try:
        if is_edited:  # under the worker, before somebody else activates other settings
            _write(folder, 0.2)
        rate = 0.2 if is_edited else 0.1
        assert _policy(worker.draw.reread()) == rate
        address = opened.settings.database
        elsewhere = Project(
            Settings.read({"SPOTCHECK_DATABASE_URL": address}, "[sampling]\nrate = 0.4\n"), opened.store
        )
        assert _policy(elsewhere) == 0.4

        later = DrawSettings(Project(opened.settings, opened.store), is_from_here=True, known=worker.known)
        assert _policy(later.reread()) == 0.4, "who read its settings before activates nothing"
        healed = reconcile(later.reread(with_rubrics=False), datetime.now(UTC), lambda lane, due: None)
        assert healed.trouble is not None
        assert "sampling.rate" in healed.trouble

        restarted = WorkerProcess()
        restarted.use(read_here()[0])
        assert _policy(restarted.draw.reread()) == rate, "settings that are read now may become active"
        restarted.project.store.close()
    finally:
        opened.store.close()


def test_what_one_child_says_another_one_neither_wipes_out_nor_keeps(folder: Path) -> None:
    opened = Project(read_here()[0]).open()
    try:
        with opened.store.write() as connection:
            workers.record_heartbeat(connection, "host:1", ["judge", "control"], 1, opened.store.now(connection))
        first, second = ConfigurationNotice("host:1"), ConfigurationNotice("host:1")

        def told() -> tuple[int | None, str | None]:
            with opened.store.read() as connection:
                (row,) = workers.live_workers(connection, opened.store.now(connection))
                return row["revision"], row["trouble"]

        first.write(opened, "judge", "it lacks · a model")
        second.write(opened, "control", None, 3)
        assert told() == (3, "judge: it lacks, a model")
        second.write(opened, "control", "other settings", 4)
        assert told() == (4, "control: other settings · judge: it lacks, a model")
        second.write(opened, "judge", None)  # its turn: the first child may have been replaced
        first.write(opened, "control", None, 4)
        assert told() == (4, None)
        ConfigurationNotice("nobody").write(opened, "judge", "it lacks a model")
    finally:
        opened.store.close()


def test_when_the_schema_moves_on_nothing_is_decided_any_more_and_the_worker_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    this_process.use(read_here()[0])
    opened = this_process.project
    try:
        with opened.store.write() as connection:
            now = opened.store.now(connection)
            workers.record_heartbeat(connection, this_process.worker_name, ["judge", "heuristic", "control"], 1, now)
        tick()
        with opened.store.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
            before = meta.get_meta(connection, LAST_TICK)
        for task in (tick, reconcile_now, drain_heuristics, drain_judge, tick):
            task()
        with opened.store.read() as connection:
            assert meta.get_meta(connection, LAST_TICK) == before
            (row,) = workers.live_workers(connection, opened.store.now(connection))
        kinds = [part.partition(": ")[0] for part in row["trouble"].split(workers.SEPARATOR)]
        assert kinds == ["control", "heuristic", "judge"]
        said = [record.getMessage() for record in caplog.records if "claims nothing more" in record.getMessage()]
        assert len(said) == 1, "not once a turn"
    finally:
        this_process.close()  # writes its last rates
        opened.store.close()
        this_process.forget()


def test_a_worker_that_leaves_jobs_for_want_of_their_model_says_so_once_in_its_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacking(request: object, headers: object) -> Answer:
        return refused(404, "The model of 'Ann' does not exist", code="model_not_found")

    with JudgeServer(lacking) as server:
        monkeypatch.setenv("SPOTCHECK_JUDGE_MODEL", MODEL)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        this_process.use(read_here()[0])
        opened = this_process.project
        try:
            ingest(opened, [document("case-1")])
            draw_nights(opened, [MONDAY])
            with opened.store.write() as connection:
                for name in (this_process.worker_name, "host:1"):
                    workers.record_heartbeat(connection, name, ["judge"], 1, opened.store.now(connection))
            for _ in range(3):
                drain_judge()
            said = [record.getMessage() for record in caplog.records if "left to other" in record.getMessage()]
            assert len(said) == 1
            assert "SPOTCHECK_JUDGE_MODEL" in said[0]
            assert "Ann" not in said[0], "a server's words may be a run's"
        finally:
            this_process.close()  # writes its last rates
            opened.store.close()
            this_process.forget()
