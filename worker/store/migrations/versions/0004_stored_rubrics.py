"""Rubric texts and which of them is active, prompts and answers behind scores, and accounts of backfills."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from worker.store import tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MONEY = ("spent_usd", "reserved_usd", "presumed_usd")


def upgrade() -> None:
    """Apply. What was enrolled before was enrolled by nights, and what was spent was spent on them."""
    op.create_table(
        "rubric",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("includes", sa.JSON(), nullable=False),
        sa.Column("stored_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_rubric_name", "rubric", ["name"])
    op.create_table(
        "promotion",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("from_night", sa.Date(), nullable=True),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("proof", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pk"),
        sa.ForeignKeyConstraint(["hash"], ["rubric.hash"]),
    )
    op.create_index("ix_promotion_name", "promotion", ["name"])
    op.create_table(
        "revision",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("scorers", sa.JSON(), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("from_night", sa.Date(), nullable=True),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "blob",
        sa.Column("sha", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha"),
    )
    op.create_table(
        "judgment",
        sa.Column("job_pk", _BIG, nullable=False, autoincrement=False),
        sa.Column("run_pk", _BIG, nullable=False),
        sa.Column("static_sha", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job_pk"),
    )
    op.create_index("judgment_by_run", "judgment", ["run_pk"])
    op.create_index("judgment_by_age", "judgment", ["created_at"])
    op.add_column("night", sa.Column("revision", sa.Integer(), nullable=True))
    op.add_column("enrolment", sa.Column("purpose", sa.String(), nullable=False, server_default="production"))
    op.add_column("job", sa.Column("account", sa.String(), nullable=False, server_default="nightly"))
    op.add_column("cut", sa.Column("reason", sa.String(), nullable=False, server_default="budget"))
    _recreate_job_queue("lane", "account", "night", "u", "run_pk")
    for column in (
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("release", sa.String(), nullable=True),
        sa.Column("trouble", tables.CleanText(), nullable=True),
    ):
        op.add_column("worker", column)
    # a worker of release 0.1 that runs on reads every scorer before it claims, and now cannot: it would shed jobs
    op.execute("ALTER TABLE scorer RENAME COLUMN applies_to TO run_filter")
    _recreate_spend("spend_by_account", ("day", "account", "scorer_pk"), "'nightly', scorer_pk", "account, scorer_pk")


def _recreate_job_queue(*columns: str) -> None:
    is_queued = sa.text("state = 'queued'")
    op.drop_index("job_queue", table_name="job")
    op.create_index("job_queue", "job", list(columns), postgresql_where=is_queued, sqlite_where=is_queued)


def _recreate_spend(constraint: str, key: tuple[str, ...], values: str, names: str) -> None:
    """Another primary key, which SQLite cannot change in place."""
    kinds: dict[str, Any] = {"day": sa.Date(), "account": sa.String(), "scorer_pk": sa.Integer()}
    defaults = {"account": "nightly"}  # for a call that release 0.1 has under way while this runs
    op.create_table(
        "spend_new",
        *(sa.Column(name, kinds[name], nullable=False, server_default=defaults.get(name)) for name in key),
        *(sa.Column(name, sa.Float(), nullable=False) for name in _MONEY),
        sa.PrimaryKeyConstraint(*key, name=constraint),
    )
    money = ", ".join(_MONEY)
    sums = ", ".join(f"SUM({name})" for name in _MONEY)
    op.execute(
        f"INSERT INTO spend_new (day, {names}, {money}) "  # noqa: S608 names of this file, nothing from outside
        f"SELECT day, {values}, {sums} FROM spend GROUP BY day, scorer_pk"
    )
    op.drop_table("spend")
    op.rename_table("spend_new", "spend")


def downgrade() -> None:
    """Take back; what backfills spent counts for their scorers' nights again."""
    op.execute("ALTER TABLE scorer RENAME COLUMN run_filter TO applies_to")
    _recreate_spend("spend_pkey", ("day", "scorer_pk"), "scorer_pk", "scorer_pk")
    for name in ("revision", "release", "trouble"):
        op.drop_column("worker", name)
    _recreate_job_queue("lane", "night", "u", "run_pk")
    op.drop_column("cut", "reason")
    op.drop_column("job", "account")
    op.drop_column("enrolment", "purpose")
    op.drop_column("night", "revision")
    for name in ("judgment", "blob", "revision", "promotion", "rubric"):
        op.drop_table(name)
