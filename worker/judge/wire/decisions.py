"""The wire form of OpenAI's decisions: the prompt as input, each criterion a choice among its verdicts.

The answer is a distribution over the verdicts and nothing else, so there is no evidence, and the reason tells the
probabilities. There is no ladder: the choices are the form of the answer, and a server that has the path has them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from worker.judge.capabilities import CapabilityPlan
from worker.judge.wire.protocol import NoCompletion, Price, dumped, judging, tokens
from worker.records import CriterionQuestion, Question, Reply

PARAMS = frozenset({"prompt_cache_key", "prompt_cache_options", "safety_identifier"})
"""All that may be set; there is no temperature, no output cap and no service tier."""


class DecisionsWire:
    """Questions and answers as /decisions has them; a `Wire`."""

    path = "/decisions"
    noun = "decision"

    def body(self, question: Question, plan: CapabilityPlan) -> tuple[bytes, dict[str, Any]]:
        """The JSON of one request, and the parameters it holds; see `Wire.body`."""
        params = {name: value for name, value in question.params.items() if name in PARAMS and name not in plan.refused}
        messages = [{"role": message.role, "content": message.content} for message in question.messages]
        questions = [
            {
                "type": "choice",
                "name": asked.criterion,
                "instructions": asked.question,
                "choices": [{"value": word, "description": when} for word, when in asked.options.items()],
            }
            for asked in question.asked
        ]
        body = {"model": question.model, "input": messages, "questions": questions, **params}
        return dumped(body, messages), params

    def read(
        self,
        body: object,
        question: Question,
        effective: Mapping[str, Any],
        *,
        latency_ms: float | None,
        price: Price | None,
        tier: str | None = None,
    ) -> Reply:
        """The answer to a question as JSON in the agreed schema; see `Wire.read`."""
        if not isinstance(body, dict) or not isinstance(body.get("answers"), list):
            raise NoCompletion
        said = _by_criterion(body["answers"], question.asked)
        declined = tuple(name for name, answer in said.items() if answer.get("type") == "refusal")
        probabilities = {
            asked.criterion: found
            for asked in question.asked
            if (found := _probabilities(said.get(asked.criterion, {}), asked.options)) is not None
        }
        verdicts = {
            name: {"evidence": [], "reason": _shown(probabilities.get(name, {})), "verdict": _verdict(answer)}
            for name, answer in said.items()
            if name not in declined
        }
        used = tokens(body.get("usage"), "input_tokens", "input_tokens_details", "output_tokens")
        return Reply(
            content=orjson.dumps(verdicts).decode(),
            finish_reason="stop",
            refusal="the judge declined to decide" if declined and len(declined) == len(question.asked) else None,
            refused=declined,
            probabilities=probabilities,
            judging=judging(question, effective, body, used, latency_ms=latency_ms, price=price, tier=tier),
        )


def _by_criterion(answers: Sequence[Any], asked: Sequence[CriterionQuestion]) -> dict[str, dict[str, Any]]:
    """The answers in the order of the questions; one that is none, or is named for another question, is left out."""
    return {
        one.criterion: answer
        for one, answer in zip(asked, answers, strict=False)
        if isinstance(answer, dict) and answer.get("name") in (None, one.criterion)
    }


def _verdict(answer: Mapping[str, Any]) -> str:
    """The choice, cut; whether it was offered is for the reader to say."""
    choice = answer.get("choice") if answer.get("type") == "choice" else None
    return choice[:100].encode("utf-8", "replace").decode() if isinstance(choice, str) else ""


def _probabilities(answer: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, float] | None:
    """The distribution over the verdicts; None unless it is one over exactly those that were offered."""
    listed = answer.get("probabilities")
    pairs = [
        (each.get("value"), _probability(each.get("probability")))
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    ]
    found = {word: p for word, p in pairs if isinstance(word, str) and p is not None}
    total = math.fsum(found.values())
    if len(found) != len(pairs) or found.keys() != options.keys() or not 0.98 <= total <= 1.02:  # they are rounded
        return None
    return {word: p / total for word, p in found.items()}


def _probability(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        return None
    return float(value)


def _shown(probabilities: Mapping[str, float]) -> str:
    return ", ".join(f"{word} {p:.2f}" for word, p in probabilities.items())
