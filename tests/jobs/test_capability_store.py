"""What a server supports is kept from one process to the next, for a week, and by server."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from tests.support.project import MONDAY, PLAIN, document, ingest, states
from tests.support.projects import OpenProject
from worker.demo.judge.server import Answer, JudgeServer, refused, simulated_verdict
from worker.jobs.capability_store import load_plans, plan_writer
from worker.jobs.processor import JobProcessor
from worker.judge.capabilities import CapabilityPlan
from worker.pipeline.draw import draw_night
from worker.project.project import Project
from worker.store.tables import MetaRow, core

PLAN = CapabilityPlan(2, frozenset({"seed"}), ("max_tokens",))


def a_project(open_project: OpenProject, database_url: str, base_url: str = "http://127.0.0.1:9/v1") -> Project:
    environ = {
        "SPOTCHECK_DATABASE_URL": database_url,
        "SPOTCHECK_JUDGE_MODEL": "simulated-judge",
        "OPENAI_BASE_URL": base_url,
    }
    return open_project(PLAIN, **environ)


def test_a_plan_is_kept_for_a_week_and_for_its_server(
    open_project: OpenProject, database_url: str, now: datetime
) -> None:
    project = a_project(open_project, database_url)
    assert load_plans(project, now) == {}
    plan_writer(project)("one", PLAN)
    plan_writer(project)("two", CapabilityPlan())
    assert load_plans(project, now) == {"one": PLAN, "two": CapabilityPlan()}
    assert load_plans(project, now + timedelta(days=8)) == {}
    elsewhere = a_project(open_project, database_url, "http://127.0.0.1:10/v1")
    assert load_plans(elsewhere, now) == {}


@pytest.mark.parametrize(
    "said", ["", "no JSON", "[]", '{"one": 7}', '{"one": {"at": "2026-11-25", "rung": "telepathy"}}']
)
def test_what_another_version_noted_is_passed_over(
    open_project: OpenProject, database_url: str, said: str, now: datetime
) -> None:
    project = a_project(open_project, database_url)
    plan_writer(project)("one", PLAN)
    with project.store.write() as connection:
        connection.execute(update(core(MetaRow)).where(core(MetaRow).c.key.like("judge_plan%")).values(value=said))
    assert load_plans(project, now) == {}


def test_the_next_process_does_not_try_what_a_server_cannot_do(
    open_project: OpenProject, database_url: str, now: datetime
) -> None:
    asked: list[str] = []

    def answer(request: dict[str, object], headers: object) -> Answer:
        asked.append("tool" if "tools" in request else "format" if "response_format" in request else "prompt")
        return (
            simulated_verdict(request, lambda prompt: 1.0)
            if asked[-1] == "prompt"
            else refused(400, "no json_schema, no tools")
        )

    with JudgeServer(answer) as server:
        for number in range(2):
            project = a_project(open_project, database_url, server.base_url)
            ingest(project, [document(f"case-{number}")])
            draw_night(project, MONDAY, now)
            with JobProcessor(project) as processor:
                processor.drain_all(["judge"])
            assert states(project) == {"scored": number + 1}
    assert asked == ["format", "tool", "format", "prompt", "prompt"]
