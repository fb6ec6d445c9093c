"""Operational figures of all ended runs, alerts, and the outbox they leave through."""

import sqlalchemy as sa
from alembic import op

from worker.store import tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply; the figures of runs that are there already are owed."""
    op.add_column("run", sa.Column("tools", tables.CleanText(), nullable=True))
    op.add_column("finding", sa.Column("window_hours", sa.Integer(), nullable=True))
    op.create_table(
        "pulse_night",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("is_stale", sa.Boolean(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("taken_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("watched_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("night"),
    )
    op.create_table(
        "pulse",
        sa.Column("pk", _BIG, nullable=False),
        sa.Column("grain", sa.String(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("measure", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("s", sa.Float(), nullable=False),
        sa.Column("ss", sa.Float(), nullable=False),
        sa.Column("total", sa.Float(), nullable=False),
        sa.Column("histogram", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("pulse_by_time", "pulse", ["grain", "night"])
    op.create_table(
        "alert",
        sa.Column("pk", _BIG, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("urgency", sa.String(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("text", tables.CleanText(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("finding_pk", sa.Integer(), nullable=True),
        sa.Column("run_pk", _BIG, nullable=True),
        sa.Column("raised_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("muted_until", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(["finding_pk"], ["finding.pk"]),
        sa.ForeignKeyConstraint(["run_pk"], ["run.pk"]),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("alert_by_night", "alert", ["night"])
    op.create_index("alert_by_finding", "alert", ["finding_pk"])
    op.create_table(
        "outbox",
        sa.Column("pk", _BIG, nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("alert_pk", _BIG, nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("not_before", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("said", tables.CleanText(), nullable=True),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("done_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["alert_pk"], ["alert.pk"]),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("alert_pk", "destination", name="outbox_identity"),
        sa.UniqueConstraint("message_id"),
    )
    op.create_index("outbox_due", "outbox", ["state", "not_before"])
    op.execute(
        sa.text("INSERT INTO pulse_night (night, is_stale, runs) SELECT DISTINCT night, :yes, 0 FROM run").bindparams(
            sa.bindparam("yes", True, sa.Boolean())
        )
    )


def downgrade() -> None:
    """Take back."""
    for name in ("outbox", "alert", "pulse", "pulse_night"):
        op.drop_table(name)
    op.drop_column("finding", "window_hours")
    op.drop_column("run", "tools")
