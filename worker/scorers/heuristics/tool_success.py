"""The share of tool calls that worked."""

from worker.core.tool_failure import failure
from worker.records import Outcome, Run, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt
from worker.scorers.protocol import Context


class ToolSuccess(Heuristic):
    """1 − failed tool calls ÷ tool calls; unscored where there were none.

    A call failed when its step carries an error that is not `None`, `null`, `nan` or another word for nothing, or
    when its result plainly says so: it begins with `Error:`, `SomeError: …`, `Traceback …`, `HTTP 503`, `503 Service
    Unavailable` or a non-zero exit code; it holds an IPython traceback, or ends in Python's; or it is a JSON object
    with `isError`/`is_error` true, `success` or `ok` false, a status code of 400 to 599, an exit code other than 0, a
    non-empty text, list or object under `error`, or `status: error` beside a `message`. A number under `error` is
    taken for a measurement, a list under `errors` for a finding, an object in a list for a row. Content blocks,
    parts, messages, JSON text and a wrapper's one field for the result are read by their words. The same decision
    stands behind the flag `tool_error`, the counts of runs and the alerts on tools.

    Cannot see: whether the right tool was called, or whether it returned what was wanted (an empty search succeeds). A
    log file that begins with `Error:` looks like a failure, a failure told in a friendly sentence does not. A failed
    call that the agent recovers from may be good work: in some task types runs with tool errors do better than those
    without.
    """

    name = "tool_success"
    version = "1"

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Count the tool calls that failed."""
        calls = [step for step in run.steps if step.kind == "tool"]
        if not calls:
            return unscored("no_tool_calls")
        failures = [(step, text) for step in calls if (text := failure(step)) is not None]
        if not failures:
            return scored(1.0, rationale=f"all {len(calls)} tool calls worked")
        step, text = failures[0]
        rationale = f"{len(failures)} of {len(calls)} tool calls failed, first step {step.seq} {excerpt(step.name, 40)}"
        return scored(1 - len(failures) / len(calls), rationale=f"{rationale}: “{excerpt(text)}”")
