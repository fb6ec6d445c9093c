"""The lanes of the job queue: heuristics, judge calls at once, judge calls in batches."""

LANES = ("heuristic", "judge", "batch")
SCORER_KINDS = ("heuristic", "judge")
"""Kinds of scorers; a judge's jobs wait in one of two lanes."""
