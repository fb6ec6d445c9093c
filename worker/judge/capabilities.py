"""What a server can do: which form of answer it can be asked for, and which parameters it refuses.

The forms are tried from the strictest down: a strict JSON schema, a tool call, any JSON object, a plain prompt. The
first questions to a model find the plan: what the server refuses or ignores is asked for in the next simpler form.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

from worker.core.judging.answer_text import is_object_text
from worker.core.judging.verdict_problem import reply_problem
from worker.judge.failures import Complaint, refuses_probabilities
from worker.records import Question, Reply
from worker.records.judging import Backend

Rung = Literal["json_schema", "tool", "json_object", "prompt"]
RUNGS: tuple[Rung, ...] = ("json_schema", "tool", "json_object", "prompt")

LIMITS = ("max_tokens", "max_completion_tokens")
"""Both names of the output cap; the first is the one that older servers know."""

_FORMAT = re.compile(
    r"response_format|text\.format|json[ _]schema|json_object|structured output|\bgrammar\b", re.IGNORECASE
)
_TOOLS = re.compile(r"\btools?\b|tool_choice|function.?call|jinja", re.IGNORECASE)
"""llama.cpp without its chat templates answers 500 `tools param requires --jinja flag`."""
_UNMADE = re.compile(
    r"json_validate_failed|tool_use_failed|\Afailed to (?:validate|generate) json|\Afailed to call a function",
    re.IGNORECASE,
)
"""Groq's 400 where a model did not keep to the form: the server knows it, so it is a slip."""


class CapabilityPlan(NamedTuple):
    """How to ask one model on one server, through one backend."""

    rung: int = 0
    """Index into RUNGS: 0 is the strictest form."""
    refused: frozenset[str] = frozenset()
    """Parameters that the server refused."""
    limits: tuple[str, ...] = LIMITS
    """Names of the output cap, in the order in which to try them."""
    is_fruitless: bool = False
    """Whether every simpler form was paid for too, and none led to a verdict."""
    counts: str | None = None
    """What is wrong with its counts of tokens, as in `Judging`; None where nothing is."""

    def lower(self) -> "CapabilityPlan | None":
        """The plan with the next simpler form; None from the simplest."""
        return self._replace(rung=self.rung + 1) if self.rung < len(RUNGS) - 1 else None

    def dumped(self) -> dict[str, Any]:
        """As JSON, with names instead of indices, so that a later version can read it."""
        document: dict[str, Any] = {
            "rung": RUNGS[self.rung],
            "refused": sorted(self.refused),
            "limits": list(self.limits),
        }
        document |= {"is_fruitless": True} if self.is_fruitless else {}
        return document | ({"counts": self.counts} if self.counts else {})

    @classmethod
    def loaded(cls, document: Mapping[str, Any]) -> "CapabilityPlan":
        """From `dumped`.

        Raises:
            ValueError, KeyError, TypeError: It is none of ours.
        """
        return cls(
            RUNGS.index(document["rung"]),
            frozenset(map(str, document["refused"])),
            tuple(map(str, document["limits"])),
            document.get("is_fruitless") is True,
            str(document["counts"]) if document.get("counts") else None,
        )

    def joined(self, other: Self) -> "CapabilityPlan":
        """The plan that avoids what either of two had to avoid."""
        is_fruitless = self.is_fruitless and other.is_fruitless  # one verdict shows that there are some
        refused, counts = self.refused | other.refused, self.counts or other.counts
        return CapabilityPlan(max(self.rung, other.rung), refused, self.limits, is_fruitless, counts)


def plan_key(question: Question) -> str:
    """What a plan is remembered under: a model, and how it is reached where that is not chat.

    Example:
        >>> ask = Question(messages=(), answer_schema={}, schema_name="x", model="judge", prompt_hash="0")
        >>> plan_key(ask), plan_key(ask.model_copy(update={"backend": "responses"}))
        ('judge', 'responses:judge')
    """
    return question.model if question.backend == "chat" else f"{question.backend}:{question.model}"


def plan_keys(model: str) -> tuple[str, ...]:
    """All that plans of a model are remembered under."""
    return tuple(model if backend == "chat" else f"{backend}:{model}" for backend in get_args(Backend))


def refuses_form(rung: object, complaint: Complaint) -> bool:
    """Whether the server says, with whatever status, that it cannot be asked in this form."""
    about = f"{complaint.message} {complaint.code} {complaint.param}"
    if rung == "tool" and _TOOLS.search(about):
        return True
    return rung in RUNGS[:-1] and _FORMAT.search(about) is not None


def fails_form(complaint: Complaint) -> bool:
    """Whether the server says that the model did not keep to the form: the next one is easier for it."""
    return _UNMADE.search(complaint.code) is not None or _UNMADE.search(complaint.message) is not None


def is_whole(reply: Reply) -> bool:
    """Whether there is an answer of which the server held back and cut nothing."""
    return bool(reply.content) and reply_problem(reply) in (None, "empty_answer")


def ignores_form(reply: Reply) -> bool:
    """Whether an answer is prose, though JSON was asked for: servers often ignore a form that they do not know.

    Half an object is not prose: that server knows the form and made a mistake.
    """
    return is_whole(reply) and bool((reply.content or "").strip()) and not is_object_text(reply.content or "")


def misses_form(reply: Reply, schema: Mapping[str, Any]) -> bool:
    """Whether an answer is JSON of another shape, though the server was to hold it to the schema.

    The schema is then in no prompt, so a server that ignores it leaves the model to guess; the simpler forms say it.
    """
    if reply.judging.params_effective.get("response_format") not in ("json_schema", "tool") or not is_whole(reply):
        return False
    from worker.core.judging.answer_json import is_of_another_shape  # late: importing it takes time

    return is_of_another_shape(reply.content or "", schema)


def is_paid_silence(reply: Reply) -> bool:
    """Whether an answer ended as it should, counts tokens, and holds nothing.

    That is a slip of the model, or a form whose answers the server puts where nobody looks for them.
    """
    is_ended = reply.refusal is None and reply.finish_reason in ("stop", "tool_calls")
    return is_ended and not (reply.content or "").strip() and bool(reply.judging.output_tokens)


def easier(plan: CapabilityPlan, complaint: Complaint, sent: Collection[str]) -> CapabilityPlan | None:
    """The plan to try after the server refused this one; None when the complaint is about something else.

    Args:
        plan: What was tried.
        complaint: What the server answered, with status 400 or 422.
        sent: Names of the parameters that were sent.
    """
    named = complaint.param
    if named in sent and named != "response_format":
        return plan._replace(refused=plan.refused | {named})
    is_about_form = named == "text" or refuses_form(RUNGS[plan.rung], complaint) or fails_form(complaint)
    if is_about_form and (lower := plan.lower()) is not None:
        return lower
    for name in sent:
        if name != "response_format" and _names(complaint.message, name):
            return plan._replace(refused=plan.refused | {name})
    if "top_logprobs" in sent and refuses_probabilities(complaint):
        return plan._replace(refused=plan.refused | {"top_logprobs"})
    return None


def _names(message: str, param: str) -> bool:
    """Whether a parameter is spoken of, in its own spelling or as `presencePenalty`."""
    spelt = f"{re.escape(param)}|{re.escape(param.replace('_', ''))}"
    return re.search(rf"\b({spelt})\b", message, re.IGNORECASE) is not None
