"""Whether the agent came to its own end."""

from worker.records import Outcome, Run, scored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt
from worker.scorers.protocol import Context


class Completed(Heuristic):
    """1 when the run's status is `completed`, 0 when it was aborted, errored or is incomplete.

    Cannot see: whether the work was done. Status is not quality: about half of the completed real runs had not solved
    their task. Many clients report an aborted run as completed.
    """

    name = "completed"
    version = "1"

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Read the status."""
        if run.status == "completed":
            return scored(1.0, label="pass", rationale="completed")
        why = run.error or run.stop_reason
        return scored(0.0, label="fail", rationale=f"{run.status}: {excerpt(why)}" if why else run.status)
