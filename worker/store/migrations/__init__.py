"""Alembic migrations; `spotcheck db upgrade` applies them."""
