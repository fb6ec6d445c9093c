"""The first schema."""

import sqlalchemy as sa
from alembic import op

from worker.store import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "budget",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("spent_usd", sa.Float(), nullable=False),
        sa.Column("reserved_usd", sa.Float(), nullable=False),
        sa.Column("presumed_usd", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("day"),
    )
    op.create_table(
        "draw",
        sa.Column("pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("drawn", sa.Integer(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("drawn_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("night", "task_type", "flagged", "seq", name="draw_identity"),
    )
    op.create_table(
        "finding",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("scorer", sa.String(), nullable=False),
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("criterion", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("before", sa.Float(), nullable=False),
        sa.Column("after", sa.Float(), nullable=False),
        sa.Column("window_nights", sa.Integer(), nullable=False),
        sa.Column("scored", sa.Integer(), nullable=False),
        sa.Column("z", sa.Float(), nullable=False),
        sa.Column("chance_per_year", sa.Float(), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("found_night", sa.Date(), nullable=False),
        sa.Column("found_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("muted_until", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("finding_by_stream", "finding", ["scorer", "series", "task_type"], unique=False)
    op.create_table(
        "meta",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "night",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("drawn_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("resolved", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("had_open_jobs", sa.Boolean(), nullable=False),
        sa.Column("summarised_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("compared_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("night"),
    )
    op.create_table(
        "reference",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("steps", sa.Float(), nullable=True),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("cost_log_mad", sa.Float(), nullable=True),
        sa.Column("steps_log_mad", sa.Float(), nullable=True),
        sa.Column("latency_log_mad", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("night", "task_type"),
    )
    op.create_table(
        "run",
        sa.Column("pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("content_sha", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("agent_version", sa.String(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("sample_key", sa.Float(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("flags", sa.String(), nullable=False),
        sa.Column("ended_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("started_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("received_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("tool_calls", sa.Integer(), nullable=False),
        sa.Column("tool_errors", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("cost_source", sa.String(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("session_id", tables.CleanText(), nullable=True),
        sa.Column("user_id", tables.CleanText(), nullable=True),
        sa.Column("trace_id", tables.CleanText(), nullable=True),
        sa.Column("root_span_id", tables.CleanText(), nullable=True),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("stop_reason", tables.CleanText(), nullable=True),
        sa.Column("error", tables.CleanText(), nullable=True),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("run_id", "source", name="run_identity"),
    )
    op.create_index(
        "run_by_facts", "run", ["night", "task_type", "flagged", "status", "agent", "agent_version"], unique=False
    )
    op.create_index("run_by_key", "run", ["night", "task_type", "flagged", "sample_key"], unique=False)
    op.create_table(
        "scorer",
        sa.Column("pk", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("applies_to", sa.JSON(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("fingerprint"),
    )
    op.create_index(op.f("ix_scorer_name"), "scorer", ["name"], unique=False)
    op.create_table(
        "worker",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("lanes", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "cell",
        sa.Column("pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("scorer_pk", sa.Integer(), nullable=False),
        sa.Column("criterion", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("agent_version", sa.String(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("sampled", sa.Integer(), nullable=False),
        sa.Column("scored", sa.Integer(), nullable=False),
        sa.Column("unscored", sa.Integer(), nullable=False),
        sa.Column("s", sa.Float(), nullable=False),
        sa.Column("ss", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["scorer_pk"],
            ["scorer.pk"],
        ),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("cell_by_night", "cell", ["night"], unique=False)
    op.create_index("cell_identity", "cell", ["scorer_pk", "criterion", "night"], unique=False)
    op.create_table(
        "cut",
        sa.Column("draw_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("scorer_pk", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("cut_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["draw_pk"],
            ["draw.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["scorer_pk"],
            ["scorer.pk"],
        ),
        sa.PrimaryKeyConstraint("draw_pk", "scorer_pk"),
    )
    op.create_table(
        "enrolment",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("scorer_pk", sa.Integer(), nullable=False),
        sa.Column("enrolled_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["scorer_pk"],
            ["scorer.pk"],
        ),
        sa.PrimaryKeyConstraint("night", "scorer_pk"),
    )
    op.create_table(
        "job",
        sa.Column("pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("scorer_pk", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("u", sa.Float(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("not_before", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_until", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("called_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.Column("reserved_usd", sa.Float(), nullable=False),
        sa.Column("reserved_day", sa.Date(), nullable=True),
        sa.Column("reason", tables.CleanText(), nullable=True),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_pk"],
            ["run.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["scorer_pk"],
            ["scorer.pk"],
        ),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("run_pk", "scorer_pk", "purpose", "replicate", name="job_identity"),
    )
    op.create_index("job_counts", "job", ["night", "scorer_pk", "state"], unique=False)
    op.create_index(
        "job_leases",
        "job",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
        sqlite_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "job_queue",
        "job",
        ["lane", "night", "u", "run_pk"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "payload",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("content_sha", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_pk"],
            ["run.pk"],
        ),
        sa.PrimaryKeyConstraint("run_pk", "revision"),
    )
    op.create_table(
        "sample",
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("draw_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("sample_key", sa.Float(), nullable=False),
        sa.Column("drawn_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["draw_pk"],
            ["draw.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["run_pk"],
            ["run.pk"],
        ),
        sa.PrimaryKeyConstraint("run_pk"),
    )
    op.create_index(op.f("ix_sample_night"), "sample", ["night"], unique=False)
    op.create_table(
        "score",
        sa.Column("pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("score_id", sa.String(), nullable=False),
        sa.Column("run_pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("scorer_pk", sa.Integer(), nullable=False),
        sa.Column("criterion", sa.String(), nullable=True),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("reason", tables.CleanText(), nullable=True),
        sa.Column("label", tables.CleanText(), nullable=True),
        sa.Column("rationale", tables.CleanText(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=True),
        sa.Column("evidence_ok", sa.Boolean(), nullable=True),
        sa.Column("p_pass", sa.Float(), nullable=True),
        sa.Column("injection_suspected", sa.Boolean(), nullable=False),
        sa.Column("prompt_hash", sa.String(), nullable=True),
        sa.Column("digest_version", sa.String(), nullable=True),
        sa.Column("model_requested", sa.String(), nullable=True),
        sa.Column("model_served", tables.CleanText(), nullable=True),
        sa.Column("fingerprint", tables.CleanText(), nullable=True),
        sa.Column("params_effective", sa.JSON(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("cached_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("created_at", tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_pk"],
            ["run.pk"],
        ),
        sa.ForeignKeyConstraint(
            ["scorer_pk"],
            ["scorer.pk"],
        ),
        sa.PrimaryKeyConstraint("pk"),
        sa.UniqueConstraint("score_id"),
    )
    op.create_index("score_by_night", "score", ["night", "scorer_pk", "criterion"], unique=False)
    op.create_index("score_by_run", "score", ["run_pk"], unique=False)
    op.create_table(
        "trend",
        sa.Column("pk", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("week", sa.String(), nullable=False),
        sa.Column("dimension", sa.String(), nullable=False),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("segment", sa.String(), nullable=True),
        sa.Column("scorer_pk", sa.Integer(), nullable=False),
        sa.Column("criterion", sa.String(), nullable=True),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("sampled", sa.Integer(), nullable=False),
        sa.Column("scored", sa.Integer(), nullable=False),
        sa.Column("unscored", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("raw_mean", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["scorer_pk"],
            ["scorer.pk"],
        ),
        sa.PrimaryKeyConstraint("pk"),
    )
    op.create_index("trend_by_week", "trend", ["week", "dimension"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_index("trend_by_week", table_name="trend")
    op.drop_table("trend")
    op.drop_index("score_by_run", table_name="score")
    op.drop_index("score_by_night", table_name="score")
    op.drop_table("score")
    op.drop_index(op.f("ix_sample_night"), table_name="sample")
    op.drop_table("sample")
    op.drop_table("payload")
    op.drop_index(
        "job_queue",
        table_name="job",
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.drop_index(
        "job_leases",
        table_name="job",
        postgresql_where=sa.text("state = 'leased'"),
        sqlite_where=sa.text("state = 'leased'"),
    )
    op.drop_index("job_counts", table_name="job")
    op.drop_table("job")
    op.drop_table("enrolment")
    op.drop_table("cut")
    op.drop_index("cell_identity", table_name="cell")
    op.drop_index("cell_by_night", table_name="cell")
    op.drop_table("cell")
    op.drop_table("worker")
    op.drop_index(op.f("ix_scorer_name"), table_name="scorer")
    op.drop_table("scorer")
    op.drop_index("run_by_key", table_name="run")
    op.drop_index("run_by_facts", table_name="run")
    op.drop_table("run")
    op.drop_table("reference")
    op.drop_table("night")
    op.drop_table("meta")
    op.drop_index("finding_by_stream", table_name="finding")
    op.drop_table("finding")
    op.drop_table("draw")
    op.drop_table("budget")
