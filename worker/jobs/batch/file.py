"""The two files of a batch: questions going up, answers coming down, joined by `custom_id` and by nothing else."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from worker.judge.batch_api import ROW_LIMIT
from worker.judge.capabilities import CapabilityPlan
from worker.judge.wire.protocol import Wire
from worker.records import Question, Run
from worker.store.queue.job import Job

_ID = re.compile(r"\d{1,19}-\d{1,6}-\d{1,9}-\d{1,4}")


def custom_id(job: Job, run: Run, index: int) -> str:
    """The `custom_id` of a call: job, attempt, the revision of the run that was shown, and which of the job's calls."""
    return f"{job.pk}-{job.attempt}-{run.revision}-{index}"


def lines_of(job: Job, run: Run, questions: Sequence[Question], wire: Wire, plan: CapabilityPlan) -> bytes:
    """The lines of one job, each ending in a line feed."""
    lines = []
    for index, question in enumerate(questions):
        body, _ = wire.body(in_batch(question), plan)
        line = {"custom_id": custom_id(job, run, index), "method": "POST", "url": f"/v1{wire.path}"}
        lines.append(orjson.dumps(line | {"body": orjson.Fragment(body)}, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(lines)


def in_batch(question: Question) -> Question:
    """A question as a batch takes it. A batch is a service tier of its own, so no other may be named."""
    return question if question.service_tier is None else question.model_copy(update={"service_tier": None})


class BatchRowOut(NamedTuple):
    """One answer of a batch, its body unread."""

    status: int
    """HTTP status of the call; 0 where none was made."""
    body: object
    error: object
    """What the server says of a call that was not made."""


class BatchOutput:
    """Rows of downloaded files by `custom_id`. They stay on disk; only their places are held in memory.

    Of rows with the same id the first counts. Lines that are no rows are skipped, and counted in `nonsense`.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """Index the files."""
        self.nonsense = 0
        self._places: dict[str, tuple[int, int, int]] = {}
        self._files: list[BinaryIO] = []
        for path in paths:
            self._files.append(path.open("rb"))
            self._index(len(self._files) - 1)

    def __len__(self) -> int:
        """How many ids have an answer."""
        return len(self._places)

    def get(self, identity: str) -> BatchRowOut | None:
        """The row of an id; None when there is none."""
        place = self._places.get(identity)
        if place is None:
            return None
        number, at, size = place
        self._files[number].seek(at)
        parsed = _row(self._files[number].read(size))
        return None if parsed is None else parsed[1]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _index(self, number: int) -> None:
        at = 0
        file = self._files[number]
        while line := file.readline(ROW_LIMIT + 1):
            is_long = len(line) > ROW_LIMIT and not line.endswith(b"\n")
            size = len(line)
            while is_long and (rest := file.readline(ROW_LIMIT)):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            parsed = None if is_long else _row(line)
            if parsed is not None:
                self._places.setdefault(parsed[0], (number, at, size))
            elif line.strip():
                self.nonsense += 1
            at += size


def _row(line: bytes) -> tuple[str, BatchRowOut] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    identity = row.get("custom_id") if isinstance(row, dict) else None
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        return None
    response = row.get("response")
    if not isinstance(response, dict):
        response = {}
    status = response.get("status_code")
    if not isinstance(status, int):
        status = 0
    return identity, BatchRowOut(status, response.get("body"), row.get("error"))
