"""How `status` shows the judge at 80 and at 120 columns: pace, pauses in one clear message, batches, money."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.scored_project import ScoredProject
from worker.cli.views.status_engine import age, answer, parts, usd
from worker.queries.budgets import BudgetStatus
from worker.queries.status import EngineStatus, ModelStatus, ScorerSpent, WorkerStatus
from worker.records import ScorerKey
from worker.settings import Settings
from worker.store.budget.accounts import AccountBalance
from worker.store.queue.backlog import Backlog
from worker.store.queue.batches import Batch

AT = datetime(2026, 11, 25, 14, 2, 5, tzinfo=UTC)
NOTHING_WAITS = Backlog(0, 0, 0, None, None)
QUEUE = Backlog(4_204, 12, 98, AT - timedelta(minutes=4), AT + timedelta(seconds=3))
ALIVE = [WorkerStatus("host:1", "judge,control", 1, AT)]
DENIED = "the judge at http://h/v1 refuses the key for model 'gpt-x-mini' (401); check OPENAI_API_KEY"
HEADS = ("under way", "in line", "most/s", "s/call")
SETTINGS = Settings.read({}, "[judge]\nbudget_usd_per_day = 5.0\nbudget_usd_per_month = 100\n")


def a_model(**over: Any) -> ModelStatus:
    fields: dict[str, Any] = {"model": "gpt-x-mini", "server": "http://h/v1", "processes": 2, "calls_per_s": 312.44}
    fields |= {"refused": 0.004, "failed": 0.0, "in_flight": 98, "waiting": 3, "limit": 200, "starts_per_s": None}
    fields |= {"latency_s": 0.314, "queue": QUEUE, "spent": AccountBalance(0.412, 0.03, 0.0)}
    return ModelStatus(**fields | {"trouble": None, "trouble_at": None, "resumes_at": None} | over)


def now(*models: ModelStatus, **over: Any) -> EngineStatus:
    lanes = {"heuristic": NOTHING_WAITS, "judge": QUEUE}
    spent = AccountBalance(0.412, 0.03, 0.0)
    looked = EngineStatus(
        AT, lanes, [], list(models), [], ALIVE, AT.date(), spent, AccountBalance(12.5, 0.03, 0.0), [], [], []
    )
    return looked._replace(**over)


def shown(looked: EngineStatus, width: int | None = 80) -> str:
    lines: list[str] = []
    for part in parts(looked, SETTINGS, width):
        lines += [part] if isinstance(part, str) else part.lines(width)
    return "".join(f"{line}\n" for line in lines)


def test_one_model_is_a_row_that_fits_80_columns() -> None:
    lines = shown(now(a_model())).splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("judge "))
    assert lines[head].split() == [
        "judge",
        "calls/s",
        "refused",
        "failed",
        "under",
        "way",
        "in",
        "line",
        "most/s",
        "s/call",
    ]
    assert lines[head + 1].split() == ["gpt-x-mini", "312.4", "0.4", "%", "·", "98", "of", "200", "3", "·", "0.31"]
    assert max(map(len, lines[head : head + 2])) <= 80
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [80, 120, None])
def test_several_models_have_their_queue_and_cost_beside_their_pace_or_below_it(width: int | None) -> None:
    other = a_model(
        model="vendor/gpt-x-large", processes=0, in_flight=0, queue=NOTHING_WAITS, spent=AccountBalance(0, 0, 0)
    )
    lines = shown(now(a_model(), other), width).splitlines()
    heads = [line for line in lines if line.startswith("judge ")]
    assert len(heads) == (2 if width == 80 else 1)
    assert all(word in " ".join(heads) for word in ("calls/s", "back-off", "leased", "oldest", "today"))
    rows = " ".join(line for line in lines if line.startswith("gpt-x-mini"))
    assert all(word in rows for word in ("312.4", "4,204", "12", "98", "4 min", "$0.4120"))
    assert any(line.startswith("gpt-x-large ") for line in lines)
    if width is not None:
        assert max(map(len, lines)) <= max(width, 93), "only a sentence is longer"
        assert "…" not in "".join(lines)


def test_two_models_of_one_short_name_are_told_whole() -> None:
    said = shown(now(a_model(model="a/m"), a_model(model="b/m")), None)
    assert "\na/m " in said
    assert "\nb/m " in said


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ("missing", "judge gpt-x-mini does not count the tokens of its answers: what they cost is not known"),
        (
            "contradictory",
            "judge gpt-x-mini counts tokens so that the counts contradict each other: charged is the most",
        ),
    ],
)
def test_counts_that_cannot_be_right_are_told_where_they_cost_money(counts: str, said: str) -> None:
    assert said in shown(now(a_model(counts=counts)), None)
    free = a_model(counts=counts, spent=AccountBalance(0, 0, 0))
    assert said in shown(now(free, unpriced=["gpt-x-mini"]), None)
    assert said not in shown(now(free), None)
    assert said not in shown(now(a_model()), None)


def test_of_a_long_message_what_to_do_is_kept() -> None:
    long = f"the judge at j says no: {'so many words ' * 30}; check its billing"
    (line,) = (line for line in shown(now(a_model(trouble=long, trouble_at=AT)), None).splitlines() if "PAUSED" in line)
    assert line.endswith("…; check its billing")
    assert len(line) < 230


@pytest.mark.parametrize(
    ("over", "alive", "then"),
    [
        ({"resumes_at": AT + timedelta(seconds=4)}, ALIVE, "tried again in 4 s"),
        ({}, ALIVE, "tried again with the next wake-up, every half minute"),
        ({}, [], "no worker is alive to try again"),
    ],
)
def test_a_refusal_is_one_message_with_what_to_do_and_what_happens_by_itself(
    over: dict[str, Any], alive: Any, then: str
) -> None:
    model = a_model(trouble=DENIED, trouble_at=AT - timedelta(seconds=20), **over)
    lines = shown(now(model, workers=alive), None).splitlines()
    assert lines.count(f"PAUSED gpt-x-mini: {DENIED}") == 1
    assert f"       last tried 20 s ago; {then}; the jobs wait, none has lost an attempt" in lines
    assert ("workers none seen alive; start one: spotcheck worker" in lines) == (alive == [])


def test_a_storm_is_told_with_the_time_it_ends() -> None:
    said = shown(now(a_model(refused=0.91, resumes_at=AT + timedelta(seconds=15))), None)
    assert "91.0 %" in said
    assert "judge gpt-x-mini asked (429) to be left alone until 14:02:20" in said
    assert "PAUSED" not in said


def test_a_whole_page_from_a_server_is_cut_and_gives_no_orders() -> None:
    page = "answers 500: <h1>\n" + "x" * 5_000
    said = shown(now(a_model(trouble=page, trouble_at=AT)), None)
    (line,) = (line for line in said.splitlines() if line.startswith("PAUSED"))
    assert len(line) < 250
    assert line.endswith("…")
    assert answer(now(a_model(trouble=page)), SETTINGS)["judge"]["models"][0]["trouble"] == page


def test_batches_on_their_way_say_how_far_they_are_and_when_they_are_due() -> None:
    fields: dict[str, Any] = dict.fromkeys(Batch._fields) | {"model": "gpt-x-mini", "jobs": 10_000, "completed": 3_100}
    fields |= {"state": "running", "server_state": "in_progress", "created_at": AT, "submitted_at": AT}
    batch = Batch(**fields | {"deadline_at": AT + timedelta(hours=22)})
    late = batch._replace(state="uploaded", submitted_at=None, deadline_at=AT - timedelta(minutes=5), server_state=None)
    lines = shown(now(a_model(), batches=[batch, late._replace(trouble="no such file")]), None).splitlines()
    assert "batch gpt-x-mini running (in_progress): 3,100 of 10,000 answered, sent 0 s ago, due in 22 h" in lines
    assert (
        "batch gpt-x-mini uploaded: 3,100 of 10,000 answered, made 0 s ago, overdue by 5 min; "
        "trouble: no such file" in lines
    )


def key(name: str, model: str = "m", fingerprint: str = "0123456789abcdef") -> ScorerKey:
    return ScorerKey(name=name, version="1", kind="judge", fingerprint=fingerprint, spec={"model": model})


def test_the_batch_lane_is_told_where_something_waits_in_it() -> None:
    lanes = {"heuristic": NOTHING_WAITS, "judge": NOTHING_WAITS, "batch": NOTHING_WAITS}
    said = [line for line in shown(now(lanes=lanes), None).splitlines() if line.startswith("queue")]
    assert said == ["queue heuristics nothing waits", "queue judge      nothing waits"]
    assert "queue batches    4,204 due" in shown(now(lanes=lanes | {"batch": QUEUE}), None)


def test_money_is_told_against_its_caps_and_by_scorer() -> None:
    spent = [
        ScorerSpent(key("one"), AccountBalance(0.1, 0, 0)),
        ScorerSpent(key("two", "a/large"), AccountBalance(0.2, 0, 0)),
        ScorerSpent(key("two", "small"), AccountBalance(0.3, 0, 0)),
        ScorerSpent(None, AccountBalance(0.05, 0, 0)),
    ]
    lines = shown(now(a_model(), spent_by=spent, spent=AccountBalance(0.65, 0.25, 0.125)), None).splitlines()
    assert lines[-3:] == [
        "spent today $0.6500 of $5.00, reserved $0.2500, $0.1250 of it presumed (calls of workers that died)",
        "spent this month $12.5000 of $100.00, reserved $0.0300",
        "  two small $0.3000 · two large $0.2000 · one $0.1000 · (before accounts by scorer) $0.0500",
    ]


def test_a_rubric_with_a_cap_of_its_own_is_told_beside_it() -> None:
    own = BudgetStatus("tone", AccountBalance(0.5, 0, 0), 2.0, AccountBalance(3.0, 0, 0), None)
    capped = [own, own._replace(rubric="facts", usd_per_month=30.0)]
    lines = shown(now(a_model(), capped=capped), None).splitlines()
    assert lines[-2:] == [
        "  tone $0.5000 of $2.00 today",
        "  facts $0.5000 of $2.00 today, $3.0000 of $30.00 this month",
    ]
    assert [budget["rubric"] for budget in answer(now(capped=capped), SETTINGS)["spend"]["rubrics"]] == [
        "tone",
        "facts",
    ]


def test_every_name_of_the_json_answer_is_in_the_documents() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")
    said = answer(now(a_model()), SETTINGS)
    (model,) = said["judge"]["models"]
    names = [*model, *model["queue"], *model["spent"], "spend", "cap_usd", "by_scorer", "rubrics", "batches"]
    assert [name for name in names if f"`{name}`" not in documented] == []


def test_without_a_judge_there_is_no_row() -> None:
    assert "calls/s" not in shown(now(workers=[]))


@pytest.mark.parametrize(("seconds", "said"), [(-1, "0 s"), (59, "59 s"), (61, "1 min"), (7_200, "2 h"), (2e5, "2 d")])
def test_ages(seconds: float, said: str) -> None:
    assert age(seconds) == said


def test_large_amounts_need_no_hundredth_of_a_cent() -> None:
    assert (usd(0.00012), usd(99.5), usd(1_234.567)) == ("$0.0001", "$99.5000", "$1,234.57")


def test_a_scored_world_tells_its_model_and_what_it_cost(world: ScoredProject) -> None:
    said = world.shell("status", "--json").json
    (model,) = said["judge"]["models"]
    assert model["model"] == "simulated-judge"
    assert model["spent"]["spent_usd"] == pytest.approx(said["spend_usd"])
    assert [account["scorer"] for account in said["spend"]["by_scorer"]] == ["task_completion"]
    assert said["spend"]["spent_usd"] == said["spend_usd"]
    assert "judge " in world.shell("status", COLUMNS="80").out
