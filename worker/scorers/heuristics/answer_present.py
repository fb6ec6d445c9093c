"""Whether the run ended in something that could be an answer."""

from collections.abc import Mapping
from typing import Any

from worker.core.judging.precheck import answer_problem
from worker.core.wrapped_text import plain_text
from worker.records import Outcome, Run, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt
from worker.scorers.protocol import Context
from worker.scorers.rules import changed_rules


class AnswerPresent(Heuristic):
    """0 when the final output is missing, empty, an opener, a control word or an echo of the task; else 1.

    Content blocks, parts and messages are read by their words: a message without words is empty.

    Cannot see: whether the answer is right, complete or even about the task; a refusal passes. Fails an agent whose job
    is to act without a word, or to give its input back unchanged. Openers are known in English and a handful of words
    beyond.
    """

    name = "answer_present"
    version = "1"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The version of the rules, but for the first."""
        return changed_rules("precheck")

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Apply the rules that also stand before every judge call."""
        if run.output is None and run.content != "full":
            return unscored("missing:run.output")
        problem = answer_problem(plain_text(run.input), plain_text(run.output))
        if problem is None:
            return scored(1.0, label="pass", rationale="there is an answer")
        shown = f": “{excerpt(run.output)}”" if run.output and problem != "empty" else ""
        return scored(0.0, label="fail", rationale=problem + shown)
