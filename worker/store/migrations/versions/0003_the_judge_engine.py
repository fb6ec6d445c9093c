"""Accounts by scorer, batches, kept answers, and the pace of each worker."""

import sqlalchemy as sa
from alembic import op

from worker.store import tables

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MONEY = ("spent_usd", "reserved_usd", "presumed_usd")


def upgrade() -> None:
    """Apply; what was booked on a day stays booked there, under no scorer's name."""
    op.create_table(
        "spend",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("scorer_pk", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in _MONEY),
        sa.PrimaryKeyConstraint("day", "scorer_pk"),
    )
    op.execute(
        "INSERT INTO spend (day, scorer_pk, spent_usd, reserved_usd, presumed_usd) "
        "SELECT day, 0, spent_usd, reserved_usd, presumed_usd FROM budget"
    )
    op.drop_table("budget")
    op.add_column("score", sa.Column("service_tier", tables.CleanText(), nullable=True))
    op.create_table(
        "batch",
        sa.Column("pk", _BIG, nullable=False),
        sa.Column("server", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("file_id", tables.CleanText(), nullable=True),
        sa.Column("batch_id", tables.CleanText(), nullable=True),
        sa.Column("server_state", tables.CleanText(), nullable=True),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.Column("trouble", tables.CleanText(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("is_too_much", sa.Boolean(), nullable=False),
        sa.Column("collected", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("cost_at_once_usd", sa.Float(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("submitted_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("look_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("done_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("batch_by_state", "batch", ["state"])
    op.create_table(
        "answer",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_answer_created_at", "answer", ["created_at"])
    op.create_table(
        "pace",
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("server", sa.String(), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("since_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("limit", sa.Integer(), nullable=False),
        sa.Column("per_second", sa.Float(), nullable=True),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("latency_s", sa.Float(), nullable=True),
        sa.Column("resumes_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("trouble", tables.CleanText(), nullable=True),
        sa.PrimaryKeyConstraint("worker", "model"),
    )


def downgrade() -> None:
    """Take back; accounts are summed by day again."""
    for name in ("pace", "answer", "batch"):
        op.drop_table(name)
    op.drop_column("score", "service_tier")
    op.create_table(
        "budget",
        sa.Column("day", sa.Date(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in _MONEY),
        sa.PrimaryKeyConstraint("day"),
    )
    op.execute(
        "INSERT INTO budget (day, spent_usd, reserved_usd, presumed_usd) "
        "SELECT day, SUM(spent_usd), SUM(reserved_usd), SUM(presumed_usd) FROM spend GROUP BY day"
    )
    op.drop_table("spend")
