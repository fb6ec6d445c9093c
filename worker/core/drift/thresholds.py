"""How much data a test needs, and which scorers are operational."""

OPERATIONAL = ("completed", "tool_success", "cost_in_range", "steps_in_range")
"""Heuristics whose figure `flow.watch` reads off all ended runs: looked at in the sample too, each change would be told
twice, and their streams would take from the others' false alarms. Their trends stay."""

LEARN_NIGHTS = 14
"""A reference of fewer nights judges nothing."""
USABLE_NIGHTS = 7
"""Nights with scores below which no dispersion can be estimated."""
MIN_RUNS = 50
"""Runs in the reach of the scan below which a stream is not looked at, and takes no share of the false alarms."""


MIX_NIGHTS = 28
"""A task type's weight in the overall line is its traffic over its first so many nights."""
