"""The lanes of the job queue: heuristics, judge calls at once, judge calls in batches."""

LANES = ("heuristic", "judge", "batch")
