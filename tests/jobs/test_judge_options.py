"""What a rubric asks of its judge, on the way to score rows and money: tiers, probabilities, second tries, backends."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from tests.support.openai_replies import a_decision, a_message, a_response, chosen, text
from tests.support.project import MONDAY, PLAIN, document, draw_nights, ingest, rows, score, states, wait
from worker.demo.judge.server import MODEL, Answer, JudgeServer, completion, simulated_verdict
from worker.jobs.batch.file import lines_of
from worker.judge.capabilities import CapabilityPlan
from worker.judge.wire.registry import WIRES
from worker.project.project import Project
from worker.records import Run
from worker.scorers.rubric.scorer import RubricScorer
from worker.settings import Settings
from worker.store.budget import accounts
from worker.store.queue.job import Job

PRICED = """\
[judge]
model = "m"
base_url = "http://127.0.0.1:9/v1"
{judge}
[judge.prices.m]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 4.0
"""


def prompts_with(tmp_path: Path, option: str) -> str:
    """A folder where the judge of task_completion has this option."""
    shipped = Path(__file__).parents[2] / "prompts"
    text = (shipped / "task_completion.rubric.md.j2").read_text(encoding="utf-8")
    assert "  backend: chat\n" in text
    own = tmp_path / "prompts"
    own.mkdir(exist_ok=True)
    (own / "task_completion.rubric.md.j2").write_text(text.replace("  backend: chat\n", f"  {option}\n"), "utf-8")
    for shared in (shipped / "_shared").iterdir():
        (own / "_shared").mkdir(exist_ok=True)
        (own / "_shared" / shared.name).write_bytes(shared.read_bytes())
    return str(own)


def a_project(tmp_path: Path, *, judge: str = "", option: str = "") -> Project:
    """A project whose judge has this option in its rubric and those in the settings."""
    environ = {
        "SPOTCHECK_DATABASE_URL": f"sqlite:///{tmp_path}/s.db",
        "SPOTCHECK_PROMPTS": prompts_with(tmp_path, option),
    }
    return Project(Settings.read(environ, PRICED.format(judge=judge)))


def most(project: Project, tier: str | None = None) -> float:
    found = project.open().prices.max_usd(project.scorers.all[-1], tier)
    project.store.close()
    assert found is not None
    return found


def test_tiers_cost_what_the_settings_say(tmp_path: Path) -> None:
    project = a_project(tmp_path, judge="tier_prices = {flex = 0.6, scale = 3}")
    costs = {
        tier: project.prices.price("m", 1_000_000, 0, 0, tier)
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


# From a run to its score row


def scored_by(
    answer: Callable[[dict[str, Any]], Answer],
    database_url: str,
    tmp_path: Path,
    *,
    option: str,
    judge: str = "",
    path: str = "/v1/chat/completions",
    runs: int = 1,
    output_usd_per_mtok: float = 4.0,
) -> tuple[Project, Mapping[str | None, Any]]:
    """A project whose runs were scored by a judge that answers like this, and one run's rows by criterion."""
    with JudgeServer(lambda request, headers: answer(request), path=path) as server:
        environ = {
            "SPOTCHECK_DATABASE_URL": database_url,
            "SPOTCHECK_JUDGE_MODEL": MODEL,
            "OPENAI_BASE_URL": server.base_url,
            "SPOTCHECK_PROMPTS": prompts_with(tmp_path, option),
        }
        priced = f'{judge}\n[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\n'
        priced += f"output_usd_per_mtok = {output_usd_per_mtok}\n"
        project = Project(Settings.read(environ, PLAIN + priced)).open()
        ingest(project, [document(f"case-{number}") for number in range(runs)])
        draw_nights(project, [MONDAY])
        wait(project)
        assert not server.requests.failures
    judged = select(score).where(score.c.model_requested.is_not(None)).order_by(score.c.run_pk)
    found = {row.criterion: row for row in reversed(rows(project, judged))}
    project.store.close()
    return project, found


def listed(content: str, p: Mapping[str, float]) -> list[dict[str, Any]]:
    """The tokens of an answer whose verdicts have these probabilities."""
    tokens = []
    for piece in re.split(r'(?<="verdict":")(pass|fail|unknown)(?=")', content):
        every = p if piece in p else {piece: 1.0}
        top = [
            {"token": said, "bytes": list(said.encode()), "logprob": math.log(share)} for said, share in every.items()
        ]
        tokens.append({"token": piece, "bytes": list(piece.encode()), "logprob": 0.0, "top_logprobs": top})
    return tokens


def test_the_probability_of_a_pass_arrives_in_the_score_row(database_url: str, tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> Answer:
        made = simulated_verdict(request, lambda prompt: 1.0)
        assert isinstance(made.body, dict)
        choice = made.body["choices"][0]
        if request["logprobs"]:
            choice["logprobs"] = {"content": listed(choice["message"]["content"], {"pass": 0.8, "fail": 0.2})}
        return made

    _, found = scored_by(answer, database_url, tmp_path, option="probabilities: true")
    assert found["outcome"].p_pass == pytest.approx(0.8)
    # outcome is required and weighs 3: 0.8 that it stands, and then (3 + 0.8 + 0.8) / 5
    assert found[None].p_pass == pytest.approx(0.8 * 4.6 / 5)
    assert (found[None].value, found[None].label) == (1.0, "pass"), "what it was is what the judge wrote"
    assert found[None].params_effective["top_logprobs"] == 5


def test_decisions_leave_value_and_probability_of_each_criterion(database_url: str, tmp_path: Path) -> None:
    said = {"outcome": 0.9, "all_parts": 0.4, "honest_report": 1.0}

    def answer(request: dict[str, Any]) -> Answer:
        names = [question["name"] for question in request["questions"]]
        each = (chosen(name, {"pass": said[name], "fail": 1 - said[name], "unknown": 0.0}) for name in names)
        return Answer(body=a_decision(*each))

    _, found = scored_by(answer, database_url, tmp_path, option="backend: decisions", path="/v1/decisions")
    assert {name: found[name].value for name in said} == {"outcome": 1.0, "all_parts": 0.0, "honest_report": 1.0}
    assert {name: found[name].p_pass for name in said} == pytest.approx(said)
    assert found[None].p_pass == pytest.approx(0.9 * (3 + 0.4 + 1) / 5)
    assert found[None].cost_usd == pytest.approx((100 * 1.0 + 2 * 4.0) / 1e6)


def test_responses_on_flex_are_recorded_with_tier_and_price(database_url: str, tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> Answer:
        schema = request["text"]["format"]["schema"]
        asked = {"response_format": {"json_schema": {"schema": schema}}, "messages": request["input"]}
        made = simulated_verdict(asked, lambda prompt: 1.0)
        assert isinstance(made.body, dict)
        content = made.body["choices"][0]["message"]["content"]
        return Answer(body=a_response(a_message(text(content)), service_tier=request["service_tier"]))

    option = "backend: responses\n  service_tier: flex"
    _, found = scored_by(answer, database_url, tmp_path, option=option, path="/v1/responses")
    row = found[None]
    assert (row.value, row.service_tier, row.model_served) == (1.0, "flex", "judge-2026")
    assert row.cost_usd == pytest.approx(0.5 * (100 * 1.0 + 10 * 4.0) / 1e6)
    assert row.params_effective["store"] is False


@pytest.mark.parametrize("repair", ["true", "false"])
def test_second_tries_never_break_a_budget(database_url: str, tmp_path: Path, repair: str) -> None:
    """A server that knows no form, and reads and writes as much as it may: what is spent stays below what was set."""
    asked: list[int] = []

    def answer(request: dict[str, Any]) -> Answer:
        if "tools" in request or "response_format" in request:
            return Answer(400, body={"error": {"message": "no tools, no response_format"}})
        asked.append(len(request["messages"]))
        is_second = len(request["messages"]) > 2
        made = simulated_verdict(request, lambda prompt: 1.0) if is_second else completion("It passes, I think.")
        read = sum(len(message["content"].encode()) for message in request["messages"]) * 3 // 8
        usage = {"prompt_tokens": read, "completion_tokens": request["max_tokens"]}
        assert isinstance(made.body, dict)
        return Answer(body={**made.body, "usage": usage})

    cap = 0.6
    limited = f"budget_usd_per_day = {cap}\nrepair = {repair}"
    project, _ = scored_by(
        answer, database_url, tmp_path, option="backend: chat", judge=limited, runs=12, output_usd_per_mtok=40.0
    )
    with project.store.read() as connection:
        account = accounts.day_balance(connection, project.nights.of(datetime.now(UTC)))
    found = states(project)
    project.store.close()
    assert 0 < account.spent_usd <= cap
    assert found["shed"] > 0
    state = "scored" if repair == "true" else "unscored"
    assert found[state] + found["shed"] == 12
    assert asked.count(2) == found[state]
    assert asked.count(4) == (found[state] if repair == "true" else 0)


def test_a_line_of_a_batch_asks_for_no_tier(tmp_path: Path) -> None:
    project = a_project(tmp_path, option="service_tier: flex").open()
    judging = project.scorers.all[-1]
    assert isinstance(judging, RubricScorer)
    run = Run.model_validate(document("case-1", steps=[]))
    questions = judging.builder.questions(run)
    project.store.close()
    assert questions[0].service_tier == "flex"
    job = Job(1, 1, 1, "production", 0, MONDAY, 1, 0.0, None)
    (line,) = lines_of(job, run, questions, WIRES["chat"], CapabilityPlan()).splitlines()
    assert "service_tier" not in orjson.loads(line)["body"]
