"""What the simulated judge says: the made-up truth, now and then wrong, in the form of any rubric it is asked with."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from worker.demo.agents.draft import Fault
from worker.demo.history import JUDGE_NOISE, Truth
from worker.demo.judge.wire import Answer, Answerer, completion

TICKET = re.compile(r"FH-\d{6}")
"""The number that each made-up run's input begins with."""
_MAIN = "outcome"
_FINE = (
    "What was asked for is there at the end, and the steps bear it out.",
    "The request is met; the answer says what the tools returned.",
    "Nothing that was asked for is missing.",
    "The steps lead to the result that the answer reports.",
)
_ELSEWHERE = "This part is as it should be."
_MISTAKEN = Fault("mistaken", "The answer does not seem to settle what was asked.")


def judge(truths: Mapping[str, Truth]) -> Answerer:
    """An answerer for the judge server that knows the truth of each run by the ticket its input names.

    The same ticket always gets the same verdict, whatever the prompt around it: a demo can be repeated.

    Args:
        truths: By ticket; read at each question, so that it may grow. A run that is not in it gets `unknown`.
    """

    def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        del headers
        messages = [str(message.get("content")) for message in request.get("messages", ()) if isinstance(message, dict)]
        found = TICKET.search(messages[-1]) if messages else None
        ticket = found.group() if found else ""
        said = _verdicts(_criteria(request), ticket, truths.get(ticket))
        return completion(orjson.dumps(said).decode(), prompt="\n".join(messages))

    return answer


def _criteria(request: Mapping[str, Any]) -> list[str]:
    """The criteria that are asked about: the properties of the schema."""
    form = request.get("response_format")
    schema = form.get("json_schema", {}).get("schema", {}) if isinstance(form, dict) else {}
    return list(schema.get("properties", {}))


def _verdicts(criteria: list[str], ticket: str, truth: Truth | None) -> dict[str, Any]:
    if truth is None:
        return {each: _verdict("unknown", "This run is not one of the demo's.", "") for each in criteria}
    fault = truth.fault
    if _share(ticket, "noise") < JUDGE_NOISE:
        fault = None if fault else _MISTAKEN
    failed: set[str] = set() if fault is None else {fault.criterion} & set(criteria) or set(criteria)
    fine = _FINE[int(_share(ticket, "words") * len(_FINE))]
    said = {}
    for each in criteria:
        if fault is not None and each in failed:
            said[each] = _verdict("fail", fault.reason, truth.quote)
        else:
            is_main = fault is None and (each == _MAIN or each == criteria[0])
            said[each] = _verdict("pass", fine if is_main else _ELSEWHERE, truth.quote)
    return said


def _verdict(verdict: str, reason: str, quote: str) -> dict[str, Any]:
    evidence = [{"step": None, "quote": quote}] if quote else []
    return {"evidence": evidence, "reason": f"Simulated: {reason}", "verdict": verdict}


def _share(ticket: str, what: str) -> float:
    """A number 0..1 that belongs to the ticket."""
    return int.from_bytes(hashlib.blake2b(f"{what} {ticket}".encode(), digest_size=6).digest()) / 2**48
