"""The wire form of OpenAI's decisions: the prompt as input, each criterion a choice among its verdicts.

The answer is a distribution over the verdicts and nothing else, so there is no evidence, and the reason holds the
probabilities. There are no simpler forms to try: the choices are the form, and a server with this path knows them.
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
        answers = _by_criterion(body["answers"], question.asked)
        declined = tuple(name for name, answer in answers.items() if answer.get("type") == "refusal")
        probabilities = {
            asked.criterion: shares
            for asked in question.asked
            if (shares := _probabilities(answers.get(asked.criterion, {}), asked.options)) is not None
        }
        verdicts = {
            name: {"evidence": [], "reason": _shown(probabilities.get(name, {})), "verdict": _verdict(answer)}
            for name, answer in answers.items()
            if name not in declined
        }
        used = tokens(body.get("usage"), "input_tokens", "input_tokens_details", "output_tokens", writes=False)
        return Reply(
            content=orjson.dumps(verdicts).decode(),
            finish_reason="stop",
            refusal="the judge declined to decide" if declined and len(declined) == len(question.asked) else None,
            refused=declined,
            probabilities=probabilities,
            judging=judging(question, effective, body, used, latency_ms=latency_ms, price=price, tier=tier),
        )


def _by_criterion(answers: Sequence[Any], asked: Sequence[CriterionQuestion]) -> dict[str, dict[str, Any]]:
    """Answers by criterion, matched by position; those that are no object, or carry another name, are left out."""
    return {
        question.criterion: answer
        for question, answer in zip(asked, answers, strict=False)
        if isinstance(answer, dict) and answer.get("name") in (None, question.criterion)
    }


def _verdict(answer: Mapping[str, Any]) -> str:
    """The choice, cut to 100 characters; the reader of verdicts checks whether it was offered."""
    choice = answer.get("choice") if answer.get("type") == "choice" else None
    return choice[:100].encode("utf-8", "replace").decode() if isinstance(choice, str) else ""


def _probabilities(answer: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, float] | None:
    """The distribution over the verdicts; None unless it is one over exactly those that were offered."""
    listed = answer.get("probabilities")
    pairs = [
        (choice.get("value"), _probability(choice.get("probability")))
        for choice in (listed if isinstance(listed, list) else ())
        if isinstance(choice, dict)
    ]
    shares = {word: p for word, p in pairs if isinstance(word, str) and p is not None}
    total = math.fsum(shares.values())
    if len(shares) != len(pairs) or shares.keys() != options.keys() or not 0.98 <= total <= 1.02:  # they are rounded
        return None
    return {word: p / total for word, p in shares.items()}


def _probability(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        return None
    return float(value)


def _shown(probabilities: Mapping[str, float]) -> str:
    return ", ".join(f"{word} {p:.2f}" for word, p in probabilities.items())
