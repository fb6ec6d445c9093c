"""Databases that earlier releases left, on both stores: the upgrade changes no answer, and the work goes on.

`tests/data/releases/VERSION` holds what a release's own commands left: open jobs, findings in every state, batches that
were never answered, alerts on their way, a night that is half drawn. `make_fixture.py` beside the data made it.
"""

import contextlib
import gzip
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from sqlalchemy import text

from tests.support.batch_server import BatchOffice
from tests.support.shell import Shell
from worker.demo.judge.server import Answer, JudgeServer, simulated_verdict
from worker.jobs.capability_store import server_of
from worker.project.project import Project
from worker.settings import Settings
from worker.store import payload
from worker.store.engine import Store

RELEASES = Path(__file__).parents[1] / "data" / "releases"
_TICKET = re.compile(r"FH-\d{6}")
_SCORED = """\
SELECT DISTINCT scorer.name, payload.body FROM score
JOIN scorer ON scorer.pk = score.scorer_pk JOIN payload ON payload.run_pk = score.run_pk WHERE scorer.kind = 'judge'
"""


class Left(NamedTuple):
    """A project that a release left, with this release's commands."""

    shell: Shell
    store: Store
    expected: Mapping[str, Any]
    """What the release said of it: the contents of its tables, and its commands' answers."""
    clock: Mapping[str, str]
    """The environment in which those answers were given."""

    def ask(self, sql: str) -> list[dict[str, Any]]:
        with self.store.read() as connection:
            return [dict(row) for row in connection.execute(text(sql)).mappings()]


@pytest.fixture(params=sorted(path.name for path in RELEASES.iterdir()))
def release(request: pytest.FixtureRequest) -> Path:
    """What each release left, in turn."""
    return RELEASES / str(request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def left(release: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Left]:
    """A release's project on each store in turn, not upgraded yet."""
    shutil.copytree(release / "prompts", tmp_path / "prompts")
    shutil.copy(release / "spotcheck.toml", tmp_path)
    url = f"sqlite:///{tmp_path / 'spotcheck.db'}"
    if request.param == "sqlite":
        (tmp_path / "spotcheck.db").write_bytes(gzip.decompress((release / "spotcheck.sqlite3.gz").read_bytes()))
    else:
        url = request.getfixturevalue("empty_postgres_url")()
        _restore(url, gzip.decompress((release / "postgresql.sql.gz").read_bytes()))
    expected = orjson.loads((release / "expected.json").read_bytes())
    store = Store(url)
    shell = Shell(tmp_path, {"SPOTCHECK_DATABASE_URL": url, "SPOTCHECK_BROKER_URL": "memory://"})
    yield Left(shell, store, expected | expected[request.param], expected["env"])
    store.close()


def _restore(url: str, sql: bytes) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """An address that takes messages, and the ids of those it took."""
    taken: list[str] = []

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            taken.append(self.headers["webhook-id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", taken
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def judge(left: Left) -> Iterator[list[tuple[str, str]]]:
    """A judge with a batch lane that knows no batch; gives (rubric, ticket) of every question it is asked."""
    asked: list[tuple[str, str]] = []

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        verdict = simulated_verdict(request, lambda prompt: 1.0)
        form = orjson.dumps(request).decode()
        ticket = _TICKET.search(str(request["messages"][-1]["content"]))
        if request["model"] == "simulated-judge":  # not a second judge, who is asked again on purpose
            asked.append(("refund_policy" if "keeps_rules" in form else "task_completion", ticket[0] if ticket else ""))
        return verdict

    with JudgeServer(answer) as server:
        office = BatchOffice(server)

        def end_all(method: str, path: str) -> None:
            for name, batch in office.batches.items():
                if batch["status"] == "in_progress":
                    office.end(batch_id=name)

        office.instead = end_all
        left.shell.environ["OPENAI_BASE_URL"] = server.base_url
        with left.store.write() as connection:  # the batches are this server's, at its new address
            name = server_of(Project(Settings.read({"OPENAI_BASE_URL": server.base_url}, ""), left.store))
            connection.execute(text("UPDATE batch SET server = :name"), {"name": name})
        yield asked


def _without(answer: Any, paths: list[str]) -> Any:
    for path in paths:
        *tables, key = path.split(".")
        inner = answer
        for table in tables:
            inner = inner[table]
        del inner[key]
    return answer


def test_every_answer_of_the_release_is_given_again_after_the_upgrade(left: Left) -> None:
    assert left.shell("db", "upgrade").code == 0
    for name, words in left.expected["commands"].items():
        expected = left.expected["answers"][name]
        if expected == "as sqlite":
            expected = left.expected["sqlite"]["answers"][name]
        # criteria are in it only when they are asked for, since 0.2
        said = left.shell(*words, *(["--criteria"] if words[0] == "trends" else []), **left.clock)
        assert said.code == 0, said
        answer = _without(said.json, left.expected["left_out_of_answers"].get(name, []))
        assert _as_far_as(answer, expected) == expected, name


def _as_far_as(answer: Any, expected: Any) -> Any:
    """An answer without the fields that releases after the recorded one have added."""
    if isinstance(answer, dict) and isinstance(expected, dict):
        return {key: _as_far_as(value, expected[key]) for key, value in answer.items() if key in expected}
    if isinstance(answer, list) and isinstance(expected, list) and len(answer) == len(expected):
        return [_as_far_as(value, wanted) for value, wanted in zip(answer, expected, strict=True)]
    return answer


def test_a_command_that_only_reads_gives_no_series_its_settings(left: Left) -> None:
    """As when somebody asks from another folder, before the worker of the new release has started."""
    columns = "pk, name, version, series, kind, fingerprint, spec, created_at"
    before = left.ask(f"SELECT {columns} FROM scorer ORDER BY pk")
    schema = '[scoring.schemas.refund]\ntype = "object"\n'
    (left.shell.folder / "spotcheck.toml").write_text(schema, encoding="utf-8")
    assert left.shell("db", "upgrade").code == 0
    environ = {**left.clock, "SPOTCHECK_JUDGE_MODEL": "m", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    for command in ("status", "report --json", "trends", "sample --since 2026-10-25 --until 2026-10-26 --dry-run"):
        assert left.shell(*command.split(), **environ).code == 0
    assert left.ask(f"SELECT {columns} FROM scorer ORDER BY pk") == before


def test_the_work_goes_on_with_no_new_series_nothing_asked_again_and_no_finding_lost(left: Left) -> None:
    assert left.shell("db", "upgrade").code == 0
    series = left.ask("SELECT pk, name, version, series, kind FROM scorer ORDER BY pk")
    scores = left.ask("SELECT score_id, outcome, value, reason FROM score ORDER BY score_id")
    findings = left.ask("SELECT pk, kind, task_type, scorer, series, state, found_night FROM finding ORDER BY pk")
    scored = {
        (row["name"], ticket)
        for row in left.ask(_SCORED)
        for ticket in _TICKET.findall(payload.unpack(bytes(row["body"])).decode())[:1]
    }
    assert scored
    open_jobs = sum(row["jobs"] for row in left.expected["jobs"] if row["state"] in ("queued", "leased"))
    with judge(left) as asked:
        done = left.shell("nightly", "--wait", "--json", **left.clock)
        assert done.code == 0, done
        first = len(asked)
        again = left.shell("nightly", "--wait", "--json", **left.clock)
        assert again.code == 0, again
    assert len(asked) == first, "the second night asked again"
    assert len(set(asked)) == len(asked)
    assert not set(asked) & scored
    assert first > 0
    assert open_jobs > first
    status = left.shell("status", "--json", **left.clock).json
    assert status["reconciles"]
    assert left.ask("SELECT count(*) AS open FROM job WHERE state IN ('queued', 'leased')") == [{"open": 0}]
    assert left.ask("SELECT pk, name, version, series, kind FROM scorer ORDER BY pk") == series
    now = {row["score_id"]: row for row in left.ask("SELECT score_id, outcome, value, reason FROM score")}
    assert [now[row["score_id"]] for row in scores] == scores
    there = {
        row["pk"]: row
        for row in left.ask("SELECT pk, kind, task_type, scorer, series, state, found_night FROM finding")
    }
    for finding in findings:
        assert there[finding["pk"]] in (finding, finding | {"state": "recovered"})


def test_alerts_on_their_way_arrive_once_with_their_ids(left: Left, webhook: tuple[str, list[str]]) -> None:
    url, taken = webhook
    assert left.shell("db", "upgrade").code == 0
    waiting = [row["message_id"] for row in left.expected["outbox"] if row["state"] == "queued"]
    assert waiting
    for _ in range(2):
        assert left.shell("alerts", "--send", SPOTCHECK_WEBHOOK_URL=url).code == 0
    assert sorted(set(taken)) == sorted(taken)
    assert set(waiting) <= set(taken)
    before = {row["message_id"] for row in left.expected["outbox"]}
    assert set(taken) & before == set(waiting)


def test_the_settings_at_the_upgrade_define_the_series_that_a_later_schema_leaves(left: Left) -> None:
    assert left.shell("db", "upgrade").code == 0
    ask = "SELECT pk, series FROM scorer WHERE name = 'valid_json' ORDER BY pk"
    (before,) = left.ask(ask)
    first = left.shell("sample", "--since", "2026-10-25", "--until", "2026-10-25", "--json", **left.clock)
    assert first.code == 0
    goes_on = f"valid_json: series {before['series']} of an earlier release goes on, with the settings of now: "
    assert [line.startswith(goes_on) for line in first.err.splitlines() if "valid_json" in line] == [True]
    assert left.ask(ask) == [before]
    settings = left.shell.folder / "spotcheck.toml"
    original = settings.read_text(encoding="utf-8")
    settings.write_text(original.replace("minimum = 0", "minimum = 1"), encoding="utf-8")
    said = left.shell("sample", "--since", "2026-10-25", "--until", "2026-10-25", "--json", **left.clock)
    assert said.code == 0
    _, after = left.ask(ask)
    assert re.fullmatch(r"1\+[0-9a-f]{8}", after["series"])
    line = f"valid_json: new series {after['series']}, not compared with {before['series']}; changed: settings"
    assert line in said.err.splitlines()
    settings.write_text(original, encoding="utf-8")
    assert (
        "new series"
        not in left.shell("sample", "--since", "2026-10-25", "--until", "2026-10-25", "--json", **left.clock).err
    )
    assert left.ask(ask) == [before, after]
