"""Tables of rubric texts, of which of them is active, and of the prompts and answers behind scores."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index, LargeBinary, Text
from sqlmodel import Field

from worker.store.tables.types import BigKey, TableBase, UtcDateTime


class RubricRow(TableBase, table=True):
    """The text of one rubric, by its hash; never changed and never deleted, since scores refer to it."""

    __tablename__: ClassVar[Any] = "rubric"
    hash: str = Field(primary_key=True)
    """`core.rubric.parse.identity`: SHA-256 hex over the canonical file and those it includes."""
    name: str = Field(index=True)
    version: str
    source: str = Field(sa_type=Text)
    """The canonical file."""
    includes: dict[str, str] = Field(sa_type=JSON)
    """Canonical texts of the files it includes, by their name in the prompts folder."""
    stored_at: datetime = Field(sa_type=UtcDateTime)


class PromotionRow(TableBase, table=True):
    """That a text became the active one of its rubric. Only added to: the newest row of a name counts."""

    __tablename__: ClassVar[Any] = "promotion"
    pk: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    hash: str = Field(foreign_key="rubric.hash")
    from_night: date | None = None
    """The first night that may be drawn with it; None for nights not drawn yet, whichever they are."""
    at: datetime = Field(sa_type=UtcDateTime)
    by: str
    """Who activated it: a person, or the process that drew."""
    proof: dict[str, Any] = Field(sa_type=JSON)
    """`{"unproved": why, "shipped": bool}`: the latter whether the text came with Spotcheck, absent where unknown."""


class RevisionRow(TableBase, table=True):
    """What nights are drawn with: scorers and sampling policy. Only added to; the highest number is in force."""

    __tablename__: ClassVar[Any] = "revision"
    number: int | None = Field(default=None, primary_key=True)
    digest: str
    """SHA-256 hex, first 16, over the scorers' fingerprints and the policy."""
    scorers: list[int] = Field(sa_type=JSON)
    """Keys of the active scorers, heuristics first."""
    policy: dict[str, Any] = Field(sa_type=JSON)
    """The sampling policy: rates and floors."""
    from_night: date | None = None
    """The night whose draw activated it; None where no draw did."""
    at: datetime = Field(sa_type=UtcDateTime)
    by: str
    """The process that activated it, HOST:PID."""


class BlobRow(TableBase, table=True):
    """A text that many judgments share, by its hash: the part of a prompt that is the same for all runs."""

    __tablename__: ClassVar[Any] = "blob"
    sha: str = Field(primary_key=True)
    kind: str
    """`static`."""
    body: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime)


class JudgmentRow(TableBase, table=True):
    """The exact prompts and raw answers behind the scores of one job, packed."""

    __tablename__: ClassVar[Any] = "judgment"
    __table_args__ = (Index("judgment_by_run", "run_pk"), Index("judgment_by_age", "created_at"))
    job_pk: int = Field(sa_type=BigKey, primary_key=True, sa_column_kwargs={"autoincrement": False})
    run_pk: int = Field(sa_type=BigKey)
    static_sha: str
    """The shared part of its prompts, in `blob`."""
    body: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime)
