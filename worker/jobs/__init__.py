"""Working off the job queue in one process: claim, ask the judge, settle."""
