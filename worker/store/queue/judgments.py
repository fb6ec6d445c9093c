"""Judgments: the exact prompts and raw answers behind scores, kept as long as runs' texts.

Their rows are written with the outcome they led to. What the prompts of a rubric share is stored once, in `blob`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select

from worker.records import PackedJudgment
from worker.store.queue.job import Job
from worker.store.tables import BlobRow, JobRow, JudgmentRow, ScorerRow, core

judgment, blob, job_table, scorer = core(JudgmentRow), core(BlobRow), core(JobRow), core(ScorerRow)
_TOUCHED = timedelta(days=1)
"""A static part that is used is dated anew once a day, so that one that is old belongs to no young judgment."""


def put_many(connection: Connection, packed: Sequence[tuple[Job, PackedJudgment]], now: datetime) -> None:
    """Store judgments without their static parts; of a job that came back the new one replaces the old."""
    rows = [
        {"job_pk": job.pk, "run_pk": job.run_pk, "static_sha": one.static_sha, "body": one.body, "created_at": now}
        for job, one in packed
    ]
    if rows:
        insert = _dialect(connection).insert(judgment)
        new = {name: insert.excluded[name] for name in ("static_sha", "body", "created_at")}
        connection.execute(insert.on_conflict_do_update(index_elements=["job_pk"], set_=new), rows)


def put_statics(connection: Connection, packed: Iterable[PackedJudgment | None], now: datetime) -> None:
    """Store the static parts of judgments; the last thing in a transaction, since others wait for a new one's row.

    Rows are locked in the order of their hashes, so that two workers cannot deadlock.
    """
    statics = {one.static_sha: one.static for one in packed if one is not None}
    rows = [{"sha": sha, "kind": "static", "body": body, "created_at": now} for sha, body in sorted(statics.items())]
    if rows:
        insert = _dialect(connection).insert(blob)
        is_old = blob.c.created_at < now - _TOUCHED
        dated = {"created_at": insert.excluded["created_at"]}
        connection.execute(insert.on_conflict_do_update(index_elements=["sha"], set_=dated, where=is_old), rows)


def of_run(connection: Connection, run_pk: int) -> Sequence[RowMapping]:
    """The jobs of a run that ask a judge, with scorer and judgment, the newest first.

    Returns:
        Columns of the job (`job_pk`, purpose, replicate, state, reason, created_at, resolved_at), of its scorer
        (`scorer_pk`, name, version, series, kind, spec) and of its judgment: `body`, `static` and `judged_at`; None
        where there is none, and `static` alone where only the shared part is gone.
    """
    statement = (
        select(
            job_table.c.pk.label("job_pk"),
            *(job_table.c[name] for name in ("purpose", "replicate", "state", "reason", "created_at", "resolved_at")),
            scorer.c.pk.label("scorer_pk"),
            *(scorer.c[name] for name in ("name", "version", "series", "kind", "spec")),
            judgment.c.body,
            judgment.c.created_at.label("judged_at"),
            blob.c.body.label("static"),
        )
        .join(scorer, scorer.c.pk == job_table.c.scorer_pk)
        .outerjoin(judgment, judgment.c.job_pk == job_table.c.pk)
        .outerjoin(blob, blob.c.sha == judgment.c.static_sha)
        .where(job_table.c.run_pk == run_pk)
    )
    rows = connection.execute(statement).mappings().all()
    return sorted(rows, key=lambda row: (row["judged_at"] or row["resolved_at"] or row["created_at"], row["job_pk"]))[
        ::-1
    ]


def is_any_older(connection: Connection, than: datetime) -> bool:
    """Whether a judgment, or a static part that no judgment needs, is older than a time. Uses judgment_by_age."""
    old = select(judgment.c.job_pk).where(judgment.c.created_at < than).limit(1)
    return connection.execute(old).first() is not None or connection.execute(_unused(than).limit(1)).first() is not None


def prune(connection: Connection, before: datetime, limit: int) -> int:
    """Delete judgments older than `before`, oldest first, at most `limit`, then the static parts that only they used.

    Rows locked by another process are skipped.

    Returns:
        How many judgments were deleted. Uses judgment_by_age.
    """
    oldest = (
        select(judgment.c.job_pk)
        .where(judgment.c.created_at < before)
        .order_by(judgment.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    deleted = connection.execute(delete(judgment).where(judgment.c.job_pk.in_(oldest))).rowcount
    if deleted < limit:
        connection.execute(delete(blob).where(blob.c.sha.in_(_unused(before))))
    return deleted


def _unused(before: datetime) -> Any:  # noqa: ANN401 a SELECT
    """Static parts without a judgment younger than `before`: the last one was stored a day after their date at most."""
    return select(blob.c.sha).where(blob.c.kind == "static", blob.c.created_at < before - _TOUCHED)


def _dialect(connection: Connection) -> Any:  # noqa: ANN401 the two dialects share no public type
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
