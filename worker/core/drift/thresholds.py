"""How much data a drift test needs, and which heuristics are tested on all runs instead of the sample."""

OPERATIONAL = ("completed", "tool_success", "cost_in_range", "steps_in_range")
"""Heuristics whose figure `pipeline.operations.watch` tests over all ended runs. Testing them in the sample too would
report each change twice and use up false alarms of other streams. Their trends are shown all the same."""

LEARN_NIGHTS = 14
"""A reference of fewer nights judges nothing."""
USABLE_NIGHTS = 7
"""Nights with scores below which no dispersion can be estimated."""
MIN_RUNS = 50
"""Least number of runs within the reach of the scan; a stream with fewer is not tested and takes no false alarms."""


MIX_NIGHTS = 28
"""The weight of a task type in the overall line is its traffic over its first so many nights."""
