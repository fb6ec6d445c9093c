"""The lanes of the job queue: heuristics, judge calls at once, judge calls in batches; and what a person asks for."""

LANES = ("heuristic", "judge", "batch")
SCORER_KINDS = ("heuristic", "judge")
"""Kinds of scorers; a judge's jobs wait in one of two lanes."""
ASKED = "asked"
"""Purpose and lane of one run that a person has scored: no worker waits at it, and no estimate reads it."""
