"""The scorers: one idea a file behind one protocol. Heuristics say what code can see; none of them sees quality."""

from collections.abc import Mapping
from types import MappingProxyType

from worker.scorers.heuristics.answer_present import AnswerPresent
from worker.scorers.heuristics.completed import Completed
from worker.scorers.heuristics.grounded_figures import GroundedFigures
from worker.scorers.heuristics.heuristic import Heuristic
from worker.scorers.heuristics.in_range import COST_IN_RANGE, LATENCY_IN_RANGE, STEPS_IN_RANGE
from worker.scorers.heuristics.no_repeats import NoRepeats
from worker.scorers.heuristics.tool_success import ToolSuccess
from worker.scorers.heuristics.valid_json import ValidJson

_IN_ORDER: tuple[Heuristic, ...] = (
    AnswerPresent(),
    Completed(),
    ToolSuccess(),
    NoRepeats(),
    STEPS_IN_RANGE,
    COST_IN_RANGE,
    LATENCY_IN_RANGE,
    GroundedFigures(),
    ValidJson(),
)

SCORERS: Mapping[str, Heuristic] = MappingProxyType({scorer.name: scorer for scorer in _IN_ORDER})
"""Every heuristic by its name, in the order they are shown."""

__all__ = ["SCORERS", "Heuristic"]
