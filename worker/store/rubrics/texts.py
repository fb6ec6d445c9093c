"""Rubric texts by hash, and which of them is the active one of its rubric."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, func, insert, select

from worker.store.insert import insert_ignore
from worker.store.tables import PromotionRow, RubricRow, core

rubric, promotion = core(RubricRow), core(PromotionRow)
_SHIPPED = "shipped"
"""Stands beside the proof in its column."""


class RubricText(NamedTuple):
    """The text of one rubric."""

    hash: str
    """64 hex: `core.rubric.parse.identity`."""
    name: str
    version: str
    source: str
    includes: Mapping[str, str]
    """By their name in the prompts folder."""


class Promotion(NamedTuple):
    """That a text became the active one of its rubric."""

    name: str
    hash: str
    version: str
    from_night: date | None
    """The first night that may be drawn with it; None for nights that are not drawn yet."""
    at: datetime
    by: str
    proof: Mapping[str, Any]
    is_shipped: bool | None = None
    """Whether the text came with Spotcheck; False for a team's own folder, None where it was not noted."""


def store_texts(connection: Connection, texts: Iterable[RubricText], now: datetime) -> None:
    """Store texts; one whose hash is there already stays as it is."""
    rows = [{**text._asdict(), "includes": dict(text.includes), "stored_at": now} for text in texts]
    if rows:
        connection.execute(insert_ignore(connection, rubric), rows)


def texts_of(connection: Connection, hashes: Sequence[str]) -> dict[str, RubricText]:
    """The stored texts of these hashes; absent where there is none."""
    if not hashes:
        return {}
    rows = connection.execute(select(rubric).where(rubric.c.hash.in_(list(hashes)))).mappings()
    return {row["hash"]: _text(row) for row in rows}


def texts_named(connection: Connection, name: str) -> list[RubricText]:
    """Every stored text of a rubric, oldest first; empty for an unknown name."""
    statement = select(rubric).where(rubric.c.name == name).order_by(rubric.c.stored_at, rubric.c.hash)
    return [_text(row) for row in connection.execute(statement).mappings()]


def promote(
    connection: Connection,
    text: RubricText,
    *,
    now: datetime,
    by: str,
    proof: Mapping[str, Any],
    from_night: date | None = None,
    is_shipped: bool | None = None,
) -> None:
    """Make a text the active one of its rubric, storing it where it is new; `is_shipped` as in `Promotion`."""
    store_texts(connection, [text], now)
    values = {"name": text.name, "hash": text.hash, "from_night": from_night, "at": now, "by": by}
    noted = dict(proof) | ({} if is_shipped is None else {_SHIPPED: is_shipped})
    connection.execute(insert(promotion).values(**values, proof=noted))


def promotions(connection: Connection, name: str | None = None) -> list[Promotion]:
    """All promotions, oldest first; of one rubric, or of all."""
    statement = select(promotion, rubric.c.version).join(rubric, rubric.c.hash == promotion.c.hash)
    if name is not None:
        statement = statement.where(promotion.c.name == name)
    rows = connection.execute(statement.order_by(promotion.c.pk)).mappings()
    return [_promotion(row) for row in rows]


def _promotion(row: RowMapping) -> Promotion:
    proof = dict(row["proof"])
    is_shipped = proof.pop(_SHIPPED, None)
    fields = {field: row[field] for field in Promotion._fields if field not in ("proof", "is_shipped")}
    return Promotion(**fields, proof=proof, is_shipped=is_shipped)


def active(connection: Connection) -> dict[str, RubricText]:
    """The active text of every rubric that was ever promoted, by name."""
    newest = select(func.max(promotion.c.pk)).group_by(promotion.c.name)
    statement = select(rubric).join(promotion, promotion.c.hash == rubric.c.hash).where(promotion.c.pk.in_(newest))
    return {row["name"]: _text(row) for row in connection.execute(statement).mappings()}


def _text(row: RowMapping) -> RubricText:
    return RubricText(**{field: row[field] for field in RubricText._fields})
