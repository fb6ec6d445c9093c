"""Alembic's entry point: migrates over the connection it is given, never over a URL of its own."""

from alembic import context

from worker.store import tables

if hasattr(context, "config"):  # not when a test collector merely imports the file
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=tables.metadata(),
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()
