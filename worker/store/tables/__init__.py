"""The tables as SQLModel classes. Table classes do not validate: the records do.

A module is imported when the first of its classes is asked for: making a class costs three milliseconds of CPU, there
are thirty, and a command that reads needs few of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData
from sqlmodel import SQLModel

from worker.store.tables.types import CleanText as CleanText
from worker.store.tables.types import UtcDateTime as UtcDateTime
from worker.store.tables.types import core as core

if TYPE_CHECKING:
    from worker.store.tables.alert import AlertRow as AlertRow
    from worker.store.tables.alert import OutboxRow as OutboxRow
    from worker.store.tables.budget import CutRow as CutRow
    from worker.store.tables.budget import SpendRow as SpendRow
    from worker.store.tables.draw import DrawRow as DrawRow
    from worker.store.tables.draw import SampleRow as SampleRow
    from worker.store.tables.figures import FigureNightRow as FigureNightRow
    from worker.store.tables.figures import FigureRow as FigureRow
    from worker.store.tables.finding import FindingRow as FindingRow
    from worker.store.tables.judge import AnswerRow as AnswerRow
    from worker.store.tables.judge import BatchRow as BatchRow
    from worker.store.tables.judge import RateRow as RateRow
    from worker.store.tables.queue import EnrolmentRow as EnrolmentRow
    from worker.store.tables.queue import JobRow as JobRow
    from worker.store.tables.queue import ScorerRow as ScorerRow
    from worker.store.tables.queue import WorkerRow as WorkerRow
    from worker.store.tables.result import CellRow as CellRow
    from worker.store.tables.result import ScoreRow as ScoreRow
    from worker.store.tables.result import TrendRow as TrendRow
    from worker.store.tables.rubric import BlobRow as BlobRow
    from worker.store.tables.rubric import JudgmentRow as JudgmentRow
    from worker.store.tables.rubric import PromotionRow as PromotionRow
    from worker.store.tables.rubric import RevisionRow as RevisionRow
    from worker.store.tables.rubric import RubricRow as RubricRow
    from worker.store.tables.run import MetaRow as MetaRow
    from worker.store.tables.run import NightRow as NightRow
    from worker.store.tables.run import PayloadRow as PayloadRow
    from worker.store.tables.run import ReferenceRow as ReferenceRow
    from worker.store.tables.run import RunRow as RunRow

_ROWS = {
    "alert": ("AlertRow", "OutboxRow"),
    "budget": ("CutRow", "SpendRow"),
    "draw": ("DrawRow", "SampleRow"),
    "figures": ("FigureNightRow", "FigureRow"),
    "finding": ("FindingRow",),
    "judge": ("AnswerRow", "BatchRow", "RateRow"),
    "queue": ("EnrolmentRow", "JobRow", "ScorerRow", "WorkerRow"),
    "result": ("CellRow", "ScoreRow", "TrendRow"),
    "rubric": ("BlobRow", "JudgmentRow", "PromotionRow", "RevisionRow", "RubricRow"),
    "run": ("MetaRow", "NightRow", "PayloadRow", "ReferenceRow", "RunRow"),
}
_MODULES = {row: f"{__name__}.{module}" for module, rows in _ROWS.items() for row in rows}


def __getattr__(name: str) -> Any:  # noqa: ANN401 what a module holds
    """A table class, its module imported (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def metadata() -> MetaData:
    """Every table and index, for what makes or compares a schema."""
    for module in (*_ROWS, "partial_indexes"):
        import_module(f"{__name__}.{module}")
    return SQLModel.metadata
