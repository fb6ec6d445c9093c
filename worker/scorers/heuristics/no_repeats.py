"""Whether the agent kept making the same call."""

import json

from worker.records import Outcome, Run, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt, identity
from worker.scorers.protocol import Context


class NoRepeats(Heuristic):
    """1 − the share of tool calls that repeat an earlier one: the same tool with the same arguments.

    Key order, spacing of JSON text and `1` against `1.0` make no difference. Calls whose arguments were not recorded
    are left out; with no others the run is unscored.

    Cannot see: why. Polling a slow job, trying again after a time-out and reading back what was just written are
    repeats too, and a loop that changes one word each time is none.
    """

    name = "no_repeats"
    version = "1"

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Count the calls that were made before."""
        tools = [step for step in run.steps if step.kind == "tool"]
        calls = [step for step in tools if step.arguments is not None]
        if not calls:
            return unscored("missing:step.arguments" if tools else "no_tool_calls")
        counts: dict[tuple[str, str], int] = {}
        for step in calls:
            call = (step.name, identity(_arguments(step.arguments)))
            counts[call] = counts.get(call, 0) + 1
        repeats = len(calls) - len(counts)
        if not repeats:
            return scored(1.0, rationale=f"{len(calls)} tool calls, none twice")
        (name, _), times = max(counts.items(), key=lambda item: item[1])
        rationale = (
            f"{repeats} of {len(calls)} tool calls repeat an earlier one; {excerpt(name, 40)} the same {times} times"
        )
        return scored(1 - repeats / len(calls), rationale=rationale)


def _arguments(arguments: object) -> object:
    """The arguments, read where they were recorded as JSON text."""
    if not isinstance(arguments, str) or not arguments.lstrip().startswith(("{", "[")):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
