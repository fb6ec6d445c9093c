"""The job queue in SQL: enqueue, claim, lease, settle; workers and batches."""
