"""The simulated judge of the demo: verdicts from the truth of each made-up run, with noise, for any rubric."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from worker.demo.agents.draft import Fault
from worker.demo.history import JUDGE_NOISE, Truth
from worker.demo.judge.wire import Answer, Answerer, completion

TICKET = re.compile(r"FH-\d{6}")
"""The ticket number in each made-up run's input."""
_MAIN = "outcome"
_FINE = (
    "What was asked for is there at the end, and the steps bear it out.",
    "The request is met; the answer says what the tools returned.",
    "Nothing that was asked for is missing.",
    "The steps lead to the result that the answer reports.",
)
_ELSEWHERE = "This part is as it should be."
_MISTAKEN = Fault("mistaken", "The answer does not seem to settle what was asked.")


def simulated_judge(truths: Mapping[str, Truth]) -> Answerer:
    """An answerer for `JudgeServer` that looks up the truth of a run by the ticket in its input.

    The same ticket always gets the same verdict, whatever the rest of the prompt is, so that a demo can be repeated.

    Args:
        truths: By ticket; read at each request, so that it may grow. An unknown run gets the verdict `unknown`.
    """

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        del headers
        messages = [str(message.get("content")) for message in request.get("messages", ()) if isinstance(message, dict)]
        match = TICKET.search(messages[-1]) if messages else None
        ticket = match.group() if match else ""
        verdicts = _verdicts(_criteria(request), ticket, truths.get(ticket))
        return completion(orjson.dumps(verdicts).decode(), prompt="\n".join(messages))

    return answer


def _criteria(request: Mapping[str, Any]) -> list[str]:
    """The criteria of a request: the properties of its answer schema."""
    form = request.get("response_format")
    schema = form.get("json_schema", {}).get("schema", {}) if isinstance(form, dict) else {}
    return list(schema.get("properties", {}))


def _verdicts(criteria: list[str], ticket: str, truth: Truth | None) -> dict[str, Any]:
    if truth is None:
        return {criterion: _verdict("unknown", "This run is not one of the demo's.", "") for criterion in criteria}
    fault = truth.fault
    if _share(ticket, "noise") < JUDGE_NOISE:
        fault = None if fault else _MISTAKEN
    failed: set[str] = set() if fault is None else {fault.criterion} & set(criteria) or set(criteria)
    fine = _FINE[int(_share(ticket, "words") * len(_FINE))]
    verdicts = {}
    for name in criteria:
        if fault is not None and name in failed:
            verdicts[name] = _verdict("fail", fault.reason, truth.quote)
        else:
            is_main = fault is None and (name == _MAIN or name == criteria[0])
            verdicts[name] = _verdict("pass", fine if is_main else _ELSEWHERE, truth.quote)
    return verdicts


def _verdict(verdict: str, reason: str, quote: str) -> dict[str, Any]:
    evidence = [{"step": None, "quote": quote}] if quote else []
    return {"evidence": evidence, "reason": f"Simulated: {reason}", "verdict": verdict}


def _share(ticket: str, what: str) -> float:
    """A pseudo-random number 0..1 for a ticket and a purpose; always the same."""
    return int.from_bytes(hashlib.blake2b(f"{what} {ticket}".encode(), digest_size=6).digest()) / 2**48
