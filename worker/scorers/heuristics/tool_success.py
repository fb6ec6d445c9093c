"""The share of tool calls that worked."""

from worker.core.tool_failure import failure
from worker.records import Outcome, Run, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt
from worker.scorers.protocol import Context


class ToolSuccess(Heuristic):
    """1 − failed tool calls ÷ tool calls; unscored where there were none.

    A call failed when its step carries an error that is not `None`, `null`, `nan` or another word for nothing, or when
    its result plainly says so: it begins as shells, languages, HTTP, databases and agent frameworks report a failure
    (`Error:`, `SomeError: …`, `Traceback …`, `HTTP 503`, `503 Service Unavailable`, `bash: …: command not found`,
    `Permission denied`, `Failed to …`); it begins or ends with an exit code other than 0; it holds an IPython
    traceback, or ends in Python's; or it is an object, as JSON or as Python writes it, with `isError`/`is_error` true,
    `success` or `ok` false, a status code of 400 to 599, an exit code other than 0, a text, list or object under
    `error` or `errorMessage`, or one that is an error and nothing else: `errors`, `detail`, a `status` of failed beside
    a `message`. An object with other fields of its own is a record that was asked for; a number under `error` is taken
    for a measurement, an object in a list for a row. Content blocks, parts, messages, JSON text and a wrapper's one
    field for the result are read by their words. The same decision stands behind the flag `tool_error`, the counts of
    runs and the alerts on tools.

    Cannot see: whether the right tool was called, or whether it returned what was wanted (an empty search
    succeeds). What a tool has read (its name says read, view, cat, grep, search, fetch, log …) is looked at up to
    eight lines; a log that another tool prints and that begins with `Error:` looks like a failure, a failure told
    in a friendly sentence does not. A failed call that the agent recovers from may be good work: in some task types
    runs with tool errors do better than those without.
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
