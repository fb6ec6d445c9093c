"""What judges were really sent and what they answered, to compare with what is stored of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import func, select

from tests.support.project import CASE, Installation, rows
from worker.demo.judge.server import Answer
from worker.project.project import Project
from worker.queries.judgments import RunJudgment, run_judgments
from worker.queries.runs import find_runs
from worker.store.tables import BlobRow, JobRow, JudgmentRow, ScoreRow, core

blob, job, judgment, score = core(BlobRow), core(JobRow), core(JudgmentRow), core(ScoreRow)


class Sent(NamedTuple):
    """One request that came in, and the text of its answer."""

    model: str
    messages: tuple[tuple[str, str], ...]
    """Role and content."""
    answer: str | None
    """None where the answer was an error."""


class Recorder:
    """Stands before a judge and writes down what passes, of runs whose texts name a case."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self._answer: Callable[..., Answer | Awaitable[Answer]] = installation.judge.answer
        self.sent: list[Sent] = []
        installation.judge.answer = self._record

    def of(self, case: str) -> list[Sent]:
        return [one for one in self.sent if _case(one) == case]

    def _record(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        answer = self._answer(request, headers)
        if not isinstance(answer, Answer):
            answer = asyncio.run(_awaited(answer))
        listed = request["messages"]
        messages = tuple((one["role"], one["content"]) for one in listed)
        self.sent.append(Sent(request["model"], messages, _content(answer)))
        return answer


def stored(project: Project, case: str, scorer: str = "task_completion") -> list[RunJudgment]:
    """The judgments of a run by one scorer, the newest first."""
    ((pk, _),) = find_runs(project, case)
    return [one for one in run_judgments(project, pk) if one.is_meant_by(scorer)]


def the_stored(project: Project, case: str, scorer: str = "task_completion") -> RunJudgment:
    """The only one."""
    (one,) = stored(project, case, scorer)
    return one


def as_sent(one: RunJudgment) -> list[Sent]:
    """The calls of a stored judgment in the form of what was recorded."""
    assert one.stored is not None, one.missing
    return [
        Sent(
            call.question["model"],
            tuple((message.role, message.content) for message in (*call.messages, *call.again)),
            None if call.reply is None else call.reply.get("content", ""),
        )
        for call in one.stored.calls
    ]


def count(project: Project, table: Any = judgment) -> int:
    return int(rows(project, select(func.count()).select_from(table))[0][0])


def _case(one: Sent) -> str:
    found = CASE.search("\n".join(content for _, content in one.messages))
    return found.group() if found else ""


def _content(answer: Answer) -> str | None:
    if answer.status != 200:
        return None
    body = orjson.loads(answer.body) if isinstance(answer.body, bytes) else answer.body
    return str(body["choices"][0]["message"]["content"] or "") if "choices" in body else ""


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer
