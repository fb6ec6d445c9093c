"""What goes wrong in the pipeline itself is told once, and once that it is over: by the commands, on both stores."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from tests.support.documents import lines
from tests.support.receivers import receiving
from tests.support.shell import Said, Shell
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict
from worker.records import Alert
from worker.store import meta
from worker.store.engine import Store
from worker.store.queue import workers
from worker.store.results import alerts, outbox

MONDAY = date(2026, 9, 28)
TOML = '[sampling]\nrate = 1.0\nflagged_rate = 1.0\n[scoring]\nheuristics = ["answer_present"]\nrubrics = []\n'
RUBRIC = TOML.replace("rubrics = []", 'rubrics = ["task_completion"]')


class Team:
    """A project that is asked each morning by the command line, by a clock that stands where the test says."""

    def __init__(self, folder: Path, database_url: str, toml: str = TOML) -> None:
        (folder / "spotcheck.toml").write_text(toml, encoding="utf-8")
        self.shell = Shell(folder, {"SPOTCHECK_DATABASE_URL": database_url})
        self.url = database_url

    def at(self, night: int, hour: int = 4) -> str:
        """The clock of the morning after a night."""
        morning = datetime.combine(MONDAY + timedelta(days=night + 1), datetime.min.time(), UTC) + timedelta(hours=hour)
        return f"{morning:%Y-%m-%dT%H:%MZ}@{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} x1"

    def take(self, night: int, **runs: int) -> None:
        """Take in so many runs of each task type."""
        ended = f"{MONDAY + timedelta(days=night)}T12:00:00Z"
        documents = [
            {
                "run_id": f"{task}-{night}-{number}",
                "task_type": task,
                "status": "completed",
                "ended_at": ended,
                "input": "Please.",
                "output": "It is done.",
                "cost_usd": 0.01,
            }
            for task, count in runs.items()
            for number in range(count)
        ]
        if documents:
            assert self.shell("ingest", "-", stdin=lines(*documents), SPOTCHECK_CLOCK=self.at(night)).code == 0

    def morning(self, night: int, *options: str, **environ: str) -> Said:
        return self.shell("nightly", "--wait", *options, SPOTCHECK_CLOCK=self.at(night), **environ)

    def told(self) -> list[dict[str, Any]]:
        """Every alert about the pipeline, the first one first."""
        listed = self.shell("alerts", "--all", "--json").json["alerts"]
        return sorted((one for one in listed if one["kind"] == "pipeline"), key=lambda one: one["alert_id"])

    @contextmanager
    def store(self) -> Iterator[Store]:
        opened = Store(self.url)
        yield opened
        opened.close()


def states(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["subject"], one["state"]) for one in told]


def test_a_dead_exporter_is_told_once_and_its_return_once(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url)
    for night in range(14):
        is_weekend = night % 7 >= 5
        team.take(night, billing=12 if is_weekend else 40, faq=8 if is_weekend else 25)
        said = team.morning(night, "--fail-on-drift")
        assert (said.code, team.told()) == (0, []), "a quiet Sunday is no alarm"
    codes, last, told_again = [], "", []
    for night in range(14, 23):
        said = team.morning(night, "--fail-on-drift")
        codes.append(said.code)
        told_again.append(any(line.startswith("no runs of any task type") for line in said.err.splitlines()))
        last = said.out.splitlines()[-1]
        assert "no drift found" not in said.out or said.code == 0
    assert codes == [0, 10, 10, 10, 10, 10, 10, 10, 10]
    assert told_again == [False, False, *[True] * 7], "its beginning has a line of its own, as an alert"
    assert last.endswith("; no job is open; 1 alert about the pipeline itself (spotcheck alerts)")
    (one,) = team.told()
    assert one["text"] == (
        "no runs of any task type since Mon 12 Oct, where about 65 a night are usual; is what sends them still running?"
    )
    assert (one["state"], one["urgency"], one["task_type"]) == ("open", "now", None)
    for night in (23, 24):
        team.take(night, billing=40, faq=25)
        assert team.morning(night, "--fail-on-drift").code == 0
    assert states(team.told()) == [("runs", "resolved"), ("runs", "resolved")]
    assert team.told()[-1]["text"] == "runs arrive again: 65 on Wed 21 Oct after 9 nights without"
    for night in range(25, 29):  # the outage has taught nothing about what is usual
        team.take(night, billing=40)
        team.morning(night)
    assert [(one["task_type"], one["state"]) for one in team.told()[2:]] == [("faq", "open")]


def test_runs_that_come_a_day_late_every_time_are_told_once_at_most(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url)
    for night in range(20):
        if night:
            team.take(night - 1, billing=60)
        team.morning(night)
    assert states(team.told()) == [("runs", "resolved")] * 2, "once, and that it is over"


def test_a_replay_tells_silences_and_sends_nothing(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url)
    for night in range(28):
        team.take(night, **({} if 14 <= night < 20 else {"billing": 50}))
    with receiving() as receiver:
        said = team.shell(
            "nightly", "--since", MONDAY, "--until", MONDAY + timedelta(days=27), "--wait",
            SPOTCHECK_WEBHOOK_URL=receiver.url,
        )  # fmt: skip
        assert said.code == 0
        assert receiver.got == []
    assert [one["night"] for one in team.told()] == ["2026-10-12", "2026-10-18"]
    assert states(team.told()) == [("runs", "resolved"), ("runs", "resolved")]
    team.shell("nightly", "--since", MONDAY, "--until", MONDAY + timedelta(days=27), "--wait")
    assert len(team.told()) == 2, "once"


def test_a_rubric_that_scores_nothing_all_night_is_told_and_that_it_scores_again(
    database_url: str, tmp_path: Path
) -> None:
    team = Team(tmp_path, database_url, RUBRIC)
    said = None
    for night in range(2):
        team.take(night, billing=6)
        said = team.morning(night)
    assert said is not None
    assert said.out.splitlines()[-1] == (
        "1 night, 6 of 6 runs drawn; rubrics: 0 scored, 6 unscored (6 no_judge_configured); heuristics: 6 scored; "
        "no job is open; 1 alert about the pipeline itself (spotcheck alerts)"
    )
    (one,) = team.told()
    assert one["text"] == "task_completion: none of 6 runs of Mon 28 Sep got a score: 6 no_judge_configured"
    with JudgeServer(lambda request, headers: simulated_verdict(request, lambda prompt: 0.8)) as judge:
        team.take(2, billing=6)
        said = team.morning(2, SPOTCHECK_JUDGE_MODEL=MODEL, OPENAI_BASE_URL=judge.base_url)
    assert "rubrics: 6 scored; heuristics: 6 scored; no job is open" in said.out.splitlines()[-1]
    assert states(team.told()) == [("scores:task_completion", "resolved")] * 2
    assert team.told()[-1]["text"] == "task_completion gives scores again: 6 on Wed 30 Sep"


def test_few_runs_a_night_without_scores_are_told_when_they_are_enough(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url, RUBRIC)
    for night in range(3):
        team.take(night, billing=2)
        team.morning(night)
        assert len(team.told()) == (night == 2)
    assert "none of 6 runs of the 3 nights up to Wed 30 Sep got a score" in team.told()[0]["text"]


def test_scores_that_a_budget_left_out_are_told_with_their_number(database_url: str, tmp_path: Path) -> None:
    prices = f'[judge]\nbudget_usd_per_day = 0.025\n[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\n'
    prices += "output_usd_per_mtok = 1.0\n"
    team = Team(tmp_path, database_url, RUBRIC + prices)
    with JudgeServer(lambda request, headers: simulated_verdict(request, lambda prompt: 0.8)) as judge:
        environ = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        team.take(0, billing=30)
        said = team.morning(0, **environ)
        (one,) = team.told()
        left = one["details"]["left_out"]["task_completion"]
        assert 0 < left < 30
        assert f"{left} skipped ({left} budget)" in said.out.splitlines()[-1]
        assert one["text"].startswith(
            f"the budget left out {left} of 30 scores of Mon 28 Sep (task_completion {left});"
        )
        (tmp_path / "spotcheck.toml").write_text(RUBRIC + prices.replace("0.025", "5.0"), encoding="utf-8")
        team.take(1, billing=30)
        team.morning(1, **environ)
    assert states(team.told()) == [("budget", "resolved")] * 2


def test_a_judge_that_is_down_for_hours_is_told(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url, RUBRIC)
    team.take(0, billing=3)
    judge = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert team.shell("nightly", SPOTCHECK_CLOCK=team.at(0), **judge).code == 0
    with team.store() as store, store.write() as connection:
        row = '{"at": "%s", "trouble": "the judge at http://h:1/v1 answers 500: \'Ann\'", "since": "%s"}'
        at = store.now(connection)
        meta.set_meta(connection, "turn:judge", row % (at.isoformat(), (at - timedelta(minutes=50)).isoformat()))
    team.shell("nightly", SPOTCHECK_CLOCK=team.at(0), **judge)
    assert team.told() == [], "what passes within the hour is no alert"
    with team.store() as store, store.write() as connection:
        meta.set_meta(connection, "turn:judge", row % (at.isoformat(), (at - timedelta(hours=3)).isoformat()))
    for _ in range(2):
        team.shell("nightly", SPOTCHECK_CLOCK=team.at(0), **judge)
    (one,) = team.told()
    assert one["text"].startswith("no judge has answered since ")
    assert one["text"].endswith(": the judge at http://h:1/v1 answers 500; 3 scores wait for it")
    team.take(1, billing=1)
    team.shell("nightly", SPOTCHECK_CLOCK=team.at(1, 6), **judge)
    assert len(team.told()) == 1, "that the night does not end is the judge's doing, and told already"
    with team.store() as store, store.write() as connection:
        meta.set_meta(connection, "turn:judge", '{"at": "2026-09-29T04:00:00+00:00", "trouble": null}')
    team.shell("nightly", SPOTCHECK_CLOCK=team.at(0), **judge)
    assert states(team.told()) == [("judge", "resolved")] * 2


def test_a_night_that_is_not_finished_a_day_later_is_told(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url)
    team.take(0, billing=3)
    assert team.shell("nightly", SPOTCHECK_CLOCK=team.at(0)).code == 0
    team.take(1, billing=3)
    for _ in range(2):
        said = team.shell("nightly", SPOTCHECK_CLOCK=team.at(1, 6))
    (one,) = team.told()
    assert one["text"] == (
        "the night of Mon 28 Sep is not finished a day after its draw: 3 scores are open (3 heuristic); "
        "is a worker running? spotcheck health says"
    )
    assert said.out.rstrip().endswith("1 alert about the pipeline itself (spotcheck alerts)")
    assert "no job is open" in team.morning(1).out
    assert states(team.told()) == [("night", "resolved")] * 2


def test_a_worker_with_old_settings_is_told_after_a_while(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url)
    team.take(0, billing=1)
    team.morning(0)
    for minutes, expected in ((0, 0), (10, 0), (16, 1), (17, 1)):
        with team.store() as store, store.write() as connection:
            at = store.now(connection)
            if minutes:
                since = at - timedelta(minutes=minutes)
                meta.set_meta(connection, "settings_trouble_since", since.isoformat())
            workers.record_heartbeat(connection, "host:1", ["judge"], 1, at)
            workers.note_configuration(connection, "host:1", "control", "its [sampling] rate is not the active one")
        team.shell("nightly", SPOTCHECK_CLOCK=team.at(0))
        assert len(team.told()) == expected
    assert "worker host:1: control: its [sampling] rate" in team.told()[0]["text"]
    with team.store() as store, store.write() as connection:
        workers.remove(connection, "host:1")
    team.shell("nightly", SPOTCHECK_CLOCK=team.at(0))
    assert states(team.told()) == [("settings", "resolved")] * 2


def test_a_webhook_that_refuses_for_long_is_told_to_the_others(database_url: str, tmp_path: Path) -> None:
    team = Team(tmp_path, database_url)
    team.take(0, billing=1)
    with receiving() as receiver:
        receiver.always = 503
        hook = {"SPOTCHECK_WEBHOOK_URL": receiver.url}
        team.morning(0, **hook)
        with team.store() as store, store.write() as connection:
            at = datetime.now(UTC)
            raised = Alert(key="k", kind="run_cost", urgency="now", text="t", night=MONDAY, raised_at=at)
            number = alerts.add(connection, raised)
            assert number is not None
            outbox.post(connection, number, "webhook", "{}", at - timedelta(hours=3))
        assert team.shell("alerts", "--send", **hook).code == 0
        assert len(receiver.got) == 1
        with team.store() as store, store.write() as connection:
            key = "destination:webhook"
            stored = meta.get_meta(connection, key)
            assert stored is not None
            earlier = (at - timedelta(hours=2)).isoformat()
            meta.set_meta(connection, key, orjson.dumps(orjson.loads(stored) | {"since": earlier}).decode())
        team.shell("nightly", **hook)
        (one,) = [one for one in team.told() if one["subject"] == "sink:webhook"]
        assert "webhook has taken no message since" in one["text"]
        assert "503" in one["text"]
