"""A hostile, impatient stranger: every mistake gets one line on stderr, its exit code, and no traceback."""

import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import a_document, lines
from tests.support.scored_project import ScoredProject
from tests.support.shell import Shell


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("trend", "no such command 'trend'. Did you mean 'trends'?; see spotcheck --help"),
        ("trends --zzz", "no such option: --zzz; see spotcheck trends --help"),
        ("trends --weeks 0", "invalid value for '--weeks'"),
        ("trends --by week", "--by 'week' is not known; use task_type, agent, agent_version"),
        ("trends --format xml", "--format 'xml' is not known"),
        ("trends --output x.txt", "--output is for csv and png"),
        ("show", "missing argument 'RUN_ID'"),
        ("show nope", "there is no run 'nope'; list them with spotcheck runs"),
        ("explain nope", "there is no run 'nope'"),
        ("drift --accept 99", "there is no finding 99"),
        ("runs --status done", "--status 'done' is not known"),
        ("runs --status complete", "did you mean completed?"),
        ("runs --since 2026-11-22 --until 2026-11-01", "--since 2026-11-22 is after --until 2026-11-01"),
        ("status --since 2026-11-22 --until 2026-11-01", "--since 2026-11-22 is after --until 2026-11-01"),
        ("sample --since 2026-11-22 --until 2026-11-01", "--since 2026-11-22 is after --until 2026-11-01"),
        ("sample --since yesterday", "--since 'yesterday' is not a date; write it like 2026-11-23"),
        ("sample --since 2999-01-01", "night 2999-01-01 is not over yet in UTC"),
        ("sample --rate 1.5", "invalid value for '--rate'"),
        ("nightly --date 2026-13-45", "--date '2026-13-45' is not a date"),
        ("nightly --date 2999-01-01", "is not over yet"),
        ("nightly --date 2026-11-01 --since 2026-11-02", "give --date, or --since and --until, not both"),
        ("rubric lst", "no such command 'lst'. Did you mean 'list'?"),
        ("rubric lint nope.j2", "nope.j2 does not exist"),
        ("rubric lint .", ". holds no rubric: they are files NAME.rubric.md.j2"),
        ("rubric preview task_completon --run x", "did you mean task_completion?"),
        ("worker --queues judg", "did you mean judge?"),
        ("worker --queues ,", "--queues names none"),
        ("worker --loglevel loud", "--loglevel 'loud' is not known"),
        ("beat --loglevel loud", "--loglevel 'loud' is not known"),
        ("ingest", "missing argument"),
        ("ingest nope.jsonl", "nope.jsonl does not exist"),
        ("ingest .", ". is a folder; name the files in it"),
        ("ingest --format otlp x", "--format 'otlp' is not known"),
        ("init /proc/nope", "cannot be written"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_2(empty: Shell, command: str, said: str) -> None:
    assert said in empty.refused(*command.split())


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("nonsense", 2, "SPOTCHECK_DATABASE_URL is not a database URL; write sqlite:///FILE or postgresql://"),
        ("mysql://me:s3cret@host/x", 2, "'mysql' is not supported"),
        ("sqlite://", 2, "a database in memory would be gone after each command; write sqlite:///FILE"),
        ("sqlite:////nope/dir/x.db", 5, "folder '/nope/dir' does not exist"),
        ("sqlite:////proc/x.db", 5, "unable to open database file; check the path and its rights"),
        ("sqlite:///.", 5, "unable to open database file"),
        ("sqlite:///text.db", 5, "file is not a database"),
        ("postgresql://me:s3cret@127.0.0.1:9/x", 5, "is the server running?"),
        ("postgresql://me:s3cret@127.0.0.1:99999/x", 5, "invalid port number"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    shell: Shell, url: str, code: int, said: str
) -> None:
    (shell.folder / "text.db").write_text("this is a text, not a database, and longer than a header" * 20)
    line = shell.refused("score", code=code, SPOTCHECK_DATABASE_URL=url)
    assert said in line
    assert "s3cret" not in line


def test_a_database_of_a_newer_version_is_left_alone(shell: Shell) -> None:
    assert shell("db", "upgrade").code == 0
    with sqlite3.connect(shell.folder / "spotcheck.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "made by a newer Spotcheck" in shell.refused("status", code=5)
    assert "made by a newer Spotcheck" in shell.refused("db", "upgrade", code=5)
    assert shell("db", "check", "--json").json["state"] == "newer"


def test_a_read_only_database_can_be_read_and_says_so_when_written(world: ScoredProject) -> None:
    uri = "sqlite:///file:spotcheck.db?mode=ro&uri=true"
    for command in ("status", "trends", "drift", "runs"):
        assert world.shell(command, SPOTCHECK_DATABASE_URL=uri).code == 0
    new = world.shell.folder / "new.jsonl"
    new.write_bytes(lines(a_document("new")))
    said = world.shell.refused("ingest", new, code=5, SPOTCHECK_DATABASE_URL=uri)
    assert "readonly database; make the file and its folder writable" in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("foo://x", "is 'foo://x': not a broker; write redis://HOST:6379/0"),
        ("filesystem://", "not a broker"),
        ("filesystem:///proc/nope", "cannot be made"),
        ("redis:/x", "not a broker"),
    ],
)
def test_a_broker_that_cannot_be_one_is_a_wrong_setting(shell: Shell, url: str, said: str) -> None:
    assert said in shell.refused("score", SPOTCHECK_BROKER_URL=url)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where somebody listens who never answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    yield listening.getsockname()[1]
    listening.close()


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_work_is_stored_when_the_broker_refuses_or_never_answers(shell: Shell, silent_port: int, scheme: str) -> None:
    shell("ingest", "-", stdin=lines(*(a_document(f"r-{number}") for number in range(20))))
    night = shell("runs", "--json").json["runs"][0]["night"]
    no_rubrics = "[scoring]\nrubrics = []\n"
    (shell.folder / "spotcheck.toml").write_text(no_rubrics)
    for port in (9, silent_port):
        said = shell("nightly", "--date", night, SPOTCHECK_BROKER_URL=f"{scheme}://me:s3cret@127.0.0.1:{port}//")
        assert said.code == 0, said
        assert said.err.count("\n") == 1, said.err
        assert "is not reachable" in said.err
        assert "the work is stored" in said.err
        assert "s3cret" not in said.err
        assert "no worker is seen alive: start one with spotcheck worker, or add --wait" in said.out
    assert shell("status", "--json").json["totals"]["pending"] > 0
    assert shell("score", "--wait").code == 0
    assert shell("status", "--json").json["totals"]["pending"] == 0


def test_output_that_cannot_be_written_is_named(world: ScoredProject) -> None:
    for form in ("csv", "png"):
        said = world.shell.refused("trends", "--format", form, "--output", "/nope/x")
        assert "--output /nope/x cannot be written: No such file or directory" in said


def test_a_name_without_scores_is_told_with_what_was_meant(world: ScoredProject) -> None:
    assert "did you mean tool_success?" in world.shell.refused("trends", "--scorer", "tool_sucess")
    assert "did you mean refund?" in world.shell.refused("trends", "--task-type", "refnd")
    said = world.shell("runs", "--task-type", "refnd")
    assert said.out.startswith("no run matches; there are runs from ")
    assert said.out.rstrip().endswith("did you mean refund?")


def test_a_name_in_the_policy_that_nothing_has_is_told_with_what_was_meant(shell: Shell) -> None:
    for text, said in (
        ('[scoring]\nheuristics = ["answr_present"]\n', "did you mean answer_present?"),
        ('[scoring]\nrubrics = ["task_complet"]\n', "did you mean task_completion?"),
        ('[scoring]\nrubrics = ["zzz"]\n', "known are groundedness"),
    ):
        (shell.folder / "spotcheck.toml").write_text(text)
        assert said in shell.refused("nightly")


def test_a_folder_where_the_settings_should_be_is_one_line(shell: Shell) -> None:
    (shell.folder / "spotcheck.toml").mkdir()
    assert shell.refused("settings") == "spotcheck: spotcheck.toml cannot be read: Is a directory"


def test_an_unexpected_error_is_one_line_too_and_the_traceback_on_demand(empty: Shell) -> None:
    bad_id = os.fsdecode(b"\xff")  # no UTF-8: SQLite cannot take it
    line = empty.refused("show", bad_id, code=1)
    assert line.startswith("spotcheck: unexpected UnicodeEncodeError")
    assert line.endswith("--traceback shows where")
    shown = empty("show", bad_id, "--traceback")
    assert shown.code == 1
    assert "Traceback (most recent call last)" in shown.err


def test_a_traceback_is_shown_wherever_the_option_stands(empty: Shell) -> None:
    for command in (["--traceback", "show", "nope"], ["show", "nope", "--traceback"]):
        assert "SettingsError" in empty(*command).err


def test_init_never_overwrites_unasked(shell: Shell) -> None:
    assert shell("init").code == 0
    toml = shell.folder / "spotcheck.toml"
    toml.write_text("[sampling]\nrate = 0.5\n")
    assert "--force overwrites it" in shell.refused("init")
    assert toml.read_text() == "[sampling]\nrate = 0.5\n"
    assert shell("init", "--force").code == 0


def test_no_secret_of_the_environment_is_ever_printed(shell: Shell) -> None:
    environ = {
        "OPENAI_API_KEY": "sk-s3cret",
        "OPENAI_BASE_URL": "http://me:s3cret@127.0.0.1:9/v1",
        "SPOTCHECK_DATABASE_URL": "postgresql://me:s3cret@127.0.0.1:9/x?password=s3cret",
        "SPOTCHECK_BROKER_URL": "redis://me:s3cret@127.0.0.1:9/0",
    }
    for command in (["settings"], ["settings", "--json"]):
        said = shell(*command, **environ)
        assert said.code == 0
        assert "s3cret" not in said.out + said.err
    wrong = {**environ, "SPOTCHECK_BROKER_URL": "foo://me:s3cret@x"}
    assert "s3cret" not in shell("settings", "--traceback", **wrong).err


def test_the_night_before_the_first_run_is_not_drawn_by_the_thousand(shell: Shell) -> None:
    shell("ingest", "-", stdin=lines(a_document("r-1")))
    said = shell("sample", "--since", "0001-01-01", "--json").json
    assert len(said["strata"]) == 1
    assert shell("sample", "--since", "1999-01-01", "--until", "2001-01-01").out.startswith("no night is due")


def test_usage_mistakes_leave_no_trace_in_the_database(shell: Shell, tmp_path: Path) -> None:
    shell.refused("nightly", "--date", "2026-13-45")
    shell.refused("trends", "--by", "week")
    assert list(tmp_path.iterdir()) == []
