"""Indexes over some rows of a table.

They are apart from their tables since SQLAlchemy imports the dialects of both databases for the conditions, which would
cost each command 20 ms of CPU; only what compares or makes a schema needs to know of indexes.
"""

from sqlalchemy import Index, text

from worker.store.tables.queue import JobRow
from worker.store.tables.types import core

job = core(JobRow)

Index(
    "job_queue",
    *(job.c.lane, job.c.account, job.c.night, job.c.u, job.c.run_pk),
    postgresql_where=text("state = 'queued'"),
    sqlite_where=text("state = 'queued'"),
)
Index(
    "job_leases",
    job.c.lease_until,
    postgresql_where=text("state = 'leased'"),
    sqlite_where=text("state = 'leased'"),
)
