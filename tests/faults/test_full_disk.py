"""No room to write: one line, the right exit code; once there is room, the same command loses and doubles nothing."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from tests.support.documents import a_document, lines
from tests.support.judge import PatientJudge
from tests.support.judge_workers import JudgeWorkers
from tests.support.restricted_files import disk_of
from tests.support.shell import Said, Shell
from tests.support.stocked_project import RUNS, ids, totals
from worker.cli.commands import trends as door
from worker.cli.files import replacing
from worker.store.engine import Store

FULL = "the disk is full; free some space, then repeat the command: nothing is lost"
MANY = 1_200


def in_little_room(shell: Shell, size: int, *arguments: object) -> Said:
    """A command's answer while no file may grow beyond so many bytes."""
    with disk_of(size):
        said = shell(*arguments)
    assert said.err.splitlines()[-1].startswith("spotcheck: "), said
    assert "Traceback" not in said.err
    return said


def many() -> bytes:
    return lines(*(a_document(f"new-{number:05}", output=f"{number} " * 300) for number in range(MANY)))


def test_a_database_without_room_keeps_what_it_has_and_takes_the_rest_later(stocked: tuple[Shell, str]) -> None:
    shell, _ = stocked
    (shell.folder / "many.jsonl").write_bytes(many())
    said = in_little_room(shell, (shell.folder / "spotcheck.db").stat().st_size + 200_000, "ingest", "many.jsonl")
    assert said.code == 5
    assert "free some space, then repeat the command: nothing is lost" in said.err
    assert set(ids(shell)) >= {f"r-{number}" for number in range(RUNS)}
    again = shell("ingest", "many.jsonl", "--json").json
    assert again["accepted"] + again["duplicate"] == MANY
    assert len(ids(shell)) == MANY + RUNS
    assert len(set(ids(shell))) == MANY + RUNS


def test_a_database_at_its_own_limit_says_the_same(stocked: tuple[Shell, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shell, _ = stocked
    (shell.folder / "many.jsonl").write_bytes(many())
    opened = Store.write

    def cramped(self: Store) -> object:
        with self.engine.connect() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 20}")  # SQLITE_FULL, what a full disk gives
        return opened(self)

    monkeypatch.setattr(Store, "write", cramped)
    line = shell.refused("ingest", "many.jsonl", code=5)
    assert line.endswith("database or disk is full; free some space, then repeat the command: nothing is lost")
    monkeypatch.undo()
    assert shell("ingest", "many.jsonl", "--json").json["accepted"] == MANY


def test_scoring_without_room_leaves_the_jobs_and_the_next_command_does_them(stocked: tuple[Shell, str]) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1\n[scoring]\nlease_s = 5\n")
    assert shell("sample", "--since", night, "--until", night).code == 0
    before = totals(shell)
    said = in_little_room(shell, 8_192, "score", "--wait")
    assert said.code == 5, said
    assert totals(shell)["pending"] == before["pending"] > 0
    assert shell("score", "--wait").code == 0
    after = totals(shell)
    assert (after["pending"], after["failed"]) == (0, 0)


def test_a_side_file_without_room_is_taken_away_and_written_whole_the_next_time(shell: Shell) -> None:
    bad = [{"bad": f"{number} " * 60} for number in range(1_500)]
    (shell.folder / "bad.jsonl").write_bytes(lines(*bad, a_document("good")))
    assert shell("db", "upgrade").code == 0
    room = max(path.stat().st_size for path in shell.folder.glob("spotcheck.db*")) + 1
    bad_bytes = (shell.folder / "bad.jsonl").stat().st_size
    said = in_little_room(shell, min(room, bad_bytes // 2), "ingest", "bad.jsonl")
    assert said.code == 6, said
    assert said.err.splitlines()[-1] == f"spotcheck: bad.jsonl.rejected.jsonl cannot be written: {FULL}"
    assert not list(shell.folder.glob("*rejected*"))
    answer = shell("ingest", "bad.jsonl", "--json").json
    assert answer["rejected"] == len(bad)
    kept = [orjson.loads(line) for line in (shell.folder / "bad.jsonl.rejected.jsonl").read_bytes().splitlines()]
    assert [line["line"] for line in kept] == list(range(1, len(bad) + 1))
    assert ids(shell) == ["good"]


@pytest.fixture
def scored(stocked: tuple[Shell, str]) -> Shell:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 1\n[scoring]\nrubrics = []\n")
    assert shell("nightly", "--date", night, "--wait").code == 0
    return shell


@pytest.mark.parametrize("form", ["csv", "png"])
def test_a_picture_or_table_without_room_leaves_the_old_one_as_it_was(
    scored: Shell, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def filling_up(path: Path) -> Iterator[Path]:
        with disk_of(64), replacing(path) as part:  # only now: reading the database needs a little room, too
            yield part

    monkeypatch.setattr(door, "replacing", filling_up)
    file = scored.folder / f"trends.{form}"
    command = ["trends", "--format", form, "--output", file.name]
    file.write_text("the old one")
    said = scored(*command)
    assert (said.code, said.out) == (6, "")
    assert said.err == f"spotcheck: {file.name} cannot be written: {FULL}\n"
    assert file.read_text() == "the old one"
    assert sorted(path.name for path in scored.folder.glob(".*")) == [], "nothing half-written stays behind"
    monkeypatch.undo()
    assert scored(*command).code == 0
    assert file.stat().st_size > 1_000


def test_init_without_room_leaves_nothing_and_can_be_repeated(shell: Shell) -> None:
    said = in_little_room(shell, 64, "init", "project")
    assert said.code == 2
    assert "cannot be written: " in said.err
    assert list((shell.folder / "project").iterdir()) == []
    assert shell("init", "project").code == 0
    assert {path.name for path in (shell.folder / "project").iterdir()} == {"spotcheck.toml", "prompts"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; only root can make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("a file system of its own can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_on_a_disk_that_is_really_full_nothing_is_lost_and_nothing_twice(small_disk: Path) -> None:
    shell = Shell(small_disk)
    source = small_disk.parent / "many.jsonl"
    source.write_bytes(many() + lines(*({"bad": number} for number in range(50))))
    assert shell("db", "upgrade").code == 0
    ballast = small_disk / "ballast"
    room = 1_048_576 - sum(path.stat().st_size for path in small_disk.iterdir())
    ballast.write_bytes(bytes(max(0, room - 160_000)))
    said = shell("ingest", source)
    assert said.code == 5, said
    assert "free some space, then repeat the command: nothing is lost" in said.err
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    answer = shell("ingest", source, "--json").json
    assert answer["accepted"] + answer["duplicate"] == MANY
    assert len(ids(shell)) == len(set(ids(shell))) == MANY
    kept = (small_disk / "many.jsonl.rejected.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["line"] for line in kept] == list(range(MANY + 1, MANY + 51))


@pytest.mark.slow
def test_a_worker_on_a_disk_that_is_full_asks_nobody_says_it_once_and_goes_on_when_there_is_room(
    small_disk: Path,
) -> None:
    subprocess.run(["mount", "-o", "remount,size=6m", small_disk], check=True)
    judge = PatientJudge(0.3)
    workers = JudgeWorkers(small_disk, {}, runs=300, concurrency=8, judge=judge)
    workers.log = small_disk.parent / "worker.log"
    ballast = small_disk / "ballast"
    with workers, workers.worker() as process:
        workers.until(lambda: judge.answered > 20, "the judge is asked")
        with suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(4_096))
                file.flush()
        workers.until(lambda: "disk is full" in workers.said(), "a write fails")
        workers.until(lambda: workers.server.requests.in_flight == 0, "what was asked is answered")
        asked = judge.answered
        time.sleep(5.0)  # in which nobody may be asked
        assert judge.answered == asked < workers.runs
        ballast.unlink()
        workers.wake()
        workers.until(lambda: workers.states() == {"scored": workers.runs}, "the night is scored")
        process.terminate()
        assert process.wait(30) == 0
    assert judge.answered == workers.runs, "each is paid once"
    said = workers.said()
    assert "Traceback" not in said
    assert said.count("free some space") == 1
    assert said.count("the database takes writes again") == 1
