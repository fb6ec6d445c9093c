"""The job queue in SQL: enqueue, claim under a lease, renew, settle; worker heartbeats, batches, cached replies.

The database is the truth about jobs; a Celery message only wakes a worker.
"""
