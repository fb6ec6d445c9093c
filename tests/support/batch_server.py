"""A server's files and batches, run by hand: a test says when a batch ends, how, and with which rows."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from sqlalchemy import select, update

from tests.support.project import PLAIN, rows
from worker.demo.judge.server import MODEL, Answer, JudgeServer, refused
from worker.jobs.drain_result import DrainResult
from worker.jobs.processor import JobProcessor
from worker.project.project import Project
from worker.store.tables import BatchRow, JobRow, ScoreRow, core

Spoil = Callable[[dict[str, Any]], list[bytes]]
"""A good row to the lines that stand in the file instead of it."""


class BatchOffice:
    """Answers batches with what its judge answers; counts what is asked of it."""

    def __init__(self, judge: JudgeServer) -> None:
        self.judge = judge
        judge.elsewhere = self._route
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.instead: Callable[[str, str], Answer | None] = lambda method, path: None
        """What to answer instead, before anything is done."""
        self.after: Callable[[str, str], Answer | None] = lambda method, path: None
        """What to answer instead, after it was done: a process that dies before it hears of it."""
        self.deleted: list[str] = []
        self._random = random.Random(4)
        self._made = 0

    def lines(self, batch_id: str) -> list[dict[str, Any]]:
        """The questions of a batch."""
        content = self.files[self.batches[batch_id]["input_file_id"]]
        return [orjson.loads(line) for line in content.splitlines()]

    def end(
        self,
        status: str = "completed",
        *,
        batch_id: str | None = None,
        only: Callable[[int], bool] = lambda number: True,
        spoil: Spoil | None = None,
    ) -> None:
        """End the newest batch, or that one.

        Args:
            status: How.
            batch_id: Which.
            only: Which of its questions are answered, by number.
            spoil: What stands in the file instead of a good row.
        """
        batch = self.batches[batch_id or max(self.batches)]
        rows: list[bytes] = []
        answered = 0
        for number, line in enumerate(self.lines(batch["id"])):
            if only(number):
                answered += 1
                good = self._row(line)
                rows += [orjson.dumps(good)] if spoil is None else spoil(good)
        self._random.shuffle(rows)
        batch["output_file_id"] = self.keep(b"\n".join(rows) + b"\n") if rows else None
        batch["request_counts"] = {"total": len(self.lines(batch["id"])), "completed": answered, "failed": 0}
        batch["status"] = status

    def keep(self, content: bytes) -> str:
        """A file of that content; gives its id."""
        self._made += 1
        name = f"file-{self._made:04}"
        self.files[name] = content
        return name

    def _row(self, line: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.judge.answer(line["body"], {})
        if not isinstance(answer, Answer):
            answer = asyncio.run(_awaited(answer))
        body = orjson.loads(answer.body) if isinstance(answer.body, bytes) else answer.body
        response = {"status_code": answer.status, "request_id": "r", "body": body}
        return {"id": "batch_req", "custom_id": line["custom_id"], "response": response, "error": None}

    def _route(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        path = path.partition("?")[0]
        what = f"{method} {'/'.join(part for part in path.split('/') if not part.startswith(('file-', 'batch_')))}"
        self.calls[what] += 1
        instead = self.instead(method, path)
        if instead is not None:
            return instead
        answer = self._do(what, path, headers, body)
        return self.after(method, path) or answer

    def _do(self, what: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        name = next((part for part in path.split("/") if part.startswith(("file-", "batch_"))), "")
        match what:
            case "POST /v1/files":
                return Answer(body={"id": self.keep(_uploaded(headers["content-type"], body)), "object": "file"})
            case "GET /v1/files/content" if name in self.files:
                return Answer(body=self.files[name])
            case "DELETE /v1/files" if name in self.files:
                del self.files[name]
                self.deleted.append(name)
                return Answer(body={"id": name, "deleted": True})
            case "POST /v1/batches":
                return Answer(body=self._create(orjson.loads(body)))
            case "GET /v1/batches" if not name:
                return Answer(body={"object": "list", "data": list(self.batches.values())[::-1]})
            case "GET /v1/batches" if name in self.batches:
                return Answer(body=self.batches[name])
            case "POST /v1/batches/cancel" if name in self.batches:
                self.batches[name]["status"] = "cancelling"
                return Answer(body=self.batches[name])
        return refused(404, f"no such thing: {path}")

    def _create(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        made = f"batch_{len(self.batches) + 1:04}"
        self.batches[made] = {
            "id": made,
            "object": "batch",
            "status": "in_progress",
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": None,
            **asked,
        }
        return self.batches[made]


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer


def _uploaded(content_type: str, body: bytes) -> bytes:
    """The file in a multipart body."""
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    part = next(part for part in body.split(boundary) if b'filename="' in part)
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


job, score, batch = core(JobRow), core(ScoreRow), core(BatchRow)
BATCHED = (
    PLAIN.replace('["answer_present"]', "[]")
    + 'lane = "batch"\n[judge.batch]\ngather_s = 0\npoll_s = 30\nmax_jobs = 1000\n'
)
PRICED = BATCHED + f'[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'


def advance(project: Project, *, stop: Callable[[], bool] = lambda: False) -> DrainResult:
    """One turn at the batch lane, in a process that was just started."""
    with project.store.write() as connection:
        connection.execute(update(batch).values(look_at=project.store.now(connection)))
    with JobProcessor(project) as processor:
        return processor.drain("batch", stop=stop)


def lane_states(project: Project) -> Counter[tuple[str, str, str | None]]:
    """Judge's jobs by lane, state and reason."""
    found = rows(project, select(job.c.lane, job.c.state, job.c.reason).where(job.c.lane != "heuristic"))
    return Counter((lane, state, reason) for lane, state, reason in found)
