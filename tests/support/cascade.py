"""Two judges on one address: what the first is unsure of goes to the second."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import func, select

from tests.support.project import CASE, MONDAY, PLAIN, Installation, document, draw_nights, ingest, prompt_of, rows
from tests.support.rubrics import changed
from worker.demo.judge.server import MODEL, Answer, completion
from worker.jobs.processor import JobProcessor
from worker.project.project import Project
from worker.store.budget import accounts
from worker.store.tables import CellRow, JobRow, RunRow, ScoreRow, core

cell, job, run, score = core(CellRow), core(JobRow), core(RunRow), core(ScoreRow)
BIG = "big-judge"
RUNS = 6
UNSURE = ("case-1", "case-2", "case-3")
"""What the first judge quotes of these occurs nowhere."""
PRICES = (
    f'[judge.prices."{MODEL}"]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n'
    f'[judge.prices."{BIG}"]\ninput_usd_per_mtok = 10.0\noutput_usd_per_mtok = 40.0\n'
)
PRICED = PLAIN + PRICES
CASCADE = {"judge:\n  backend": f"judge:\n  escalate: {{when: [failed_evidence, unreadable], to: {BIG}}}\n  backend"}


def verdict(request: Mapping[str, Any], outcome: str, quote: str) -> Answer:
    """A whole verdict in the form that was asked for."""
    criteria = request["response_format"]["json_schema"]["schema"]["properties"]
    said = {
        name: {"evidence": [{"step": None, "quote": quote}], "reason": "because", "verdict": outcome}
        for name in criteria
    }
    return completion(orjson.dumps(said).decode(), prompt=prompt_of(request), model=str(request["model"]))


class TwoJudges:
    """Two judges on one address; the first is wrong about the unsure cases and quotes what nobody said."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.asked: list[tuple[str, str]] = []
        """Model and case of each call."""
        self.paid_usd = 0.0
        """What the answered ones cost."""
        self.instead: Callable[[str, str], Answer | None] = lambda model, case: None
        installation.judge.answer = self._answer
        self.prompts = changed(folder / "mine", CASCADE)

    def _answer(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        found = CASE.search(prompt_of(request))
        case, model = found.group() if found else "", str(request["model"])
        self.asked.append((model, case))
        is_unsure = model == MODEL and case in UNSURE
        said = self.instead(model, case)
        if said is None:
            said = verdict(request, "fail" if is_unsure else "pass", "nobody said" if is_unsure else "issued")
        if isinstance(said.body, dict) and "usage" in said.body:
            used = said.body["usage"]
            usd = (used["prompt_tokens"] * 1.0 + used["completion_tokens"] * 4.0) / 1e6
            self.paid_usd += usd * (10 if model == BIG else 1)
        return said

    def project(self, toml: str = PRICED) -> Project:
        return self.installation.project(toml, SPOTCHECK_PROMPTS=self.prompts)

    def drawn(self, toml: str = PRICED) -> Project:
        project = self.project(toml)
        ingest(project, [document(f"case-{number}") for number in range(RUNS)])
        draw_nights(project, [MONDAY])
        return project

    def calls(self, model: str) -> int:
        return sum(asked == model for asked, _ in self.asked)


def drain(project: Project) -> Any:
    with JobProcessor(project) as processor:
        return processor.drain("judge")


def aggregates(project: Project, purpose: str) -> dict[str, Any]:
    """Of the judge, by case."""
    statement = (
        select(run.c.run_id, score)
        .join(score, score.c.run_pk == run.c.pk)
        .join(job, (job.c.run_pk == run.c.pk) & (job.c.scorer_pk == score.c.scorer_pk))
        .where(score.c.criterion.is_(None), score.c.purpose == purpose, job.c.lane != "heuristic")
    )
    return {row.run_id: row for row in rows(project, statement)}


def account(project: Project) -> accounts.AccountBalance:
    with project.store.read() as connection:
        return accounts.day_balance(connection, project.nights.of(datetime.now(UTC)))


def cost(project: Project) -> float:
    """What all stored scores cost together."""
    return float(rows(project, select(func.sum(score.c.cost_usd)))[0][0])
