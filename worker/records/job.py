"""Jobs: the lanes of the queue."""

LANES = ("heuristic", "judge", "batch")
