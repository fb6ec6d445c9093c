"""From a judge's reply to outcomes: the JSON schema of the answer, strict parsing, and the aggregate.

A reply that is truncated, refused, filtered, empty or not the agreed JSON is unscored with that reason, never zero. The
verdict must be one of the words that the schema offers; prose is not searched for one. Where no server enforces the
schema, a slightly other shape is read too: see `fitting`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from jsonschema import Draft202012Validator

from worker.core.judging import pass_probability
from worker.core.judging.answer_json import json_of
from worker.core.judging.fitting import fitted
from worker.core.judging.injection import leaf_texts
from worker.core.judging.verdict_problem import PROMPT_CUT, PROMPT_CUT_MEANS, reply_problem
from worker.core.rubric.parse import Rubric
from worker.core.rubric.render import document_lines, join_document
from worker.core.rubric.schema import Criterion
from worker.errors import VerdictUnreadable
from worker.records import CriterionQuestion, Outcome, Reply, scored, unscored

READING_VERSION = "1"
"""Part of a judge's fingerprint where it is not the first: how replies become scores, here and in `pooling`,
`pass_probability` and `escalation`. Raise it with every change of what a reply is worth;
`tests/scorers/test_rules_of_measuring.py` holds each version's results."""
UNKNOWN = "unknown"
MAX_REASON_CHARS = 2000
MAX_QUOTES = 20
MAX_QUOTE_CHARS = 600
_MAX_STEP = 10**9
_GAP = re.compile(r"\s*(?:\[\.\.\.\]|\[…\]|\.\.\.|…)\s*")
_UNSTORABLE = re.compile("[\u0000\ud800-\udfff]")


def answer_schema(criteria: Sequence[Criterion]) -> dict[str, Any]:
    """The JSON Schema of the answer, in the subset that strict structured outputs accept.

    For each criterion evidence, then reason, then verdict: a model's later text depends on its earlier text.

    Example:
        >>> schema = answer_schema([Criterion(id="done", question="Is it done?", pass_when="It is.")])
        >>> schema["properties"]["done"]["properties"]["verdict"]
        {'type': 'string', 'enum': ['pass', 'fail', 'unknown']}
        >>> list(schema["properties"]["done"]["properties"])
        ['evidence', 'reason', 'verdict']
    """
    quote = {"step": {"type": ["integer", "null"]}, "quote": {"type": "string"}}
    properties = {
        criterion.id: _object(
            {
                "evidence": {"type": "array", "items": _object(quote)},
                "reason": {"type": "string"},
                "verdict": {"type": "string", "enum": [*criterion.options, UNKNOWN]},
            }
        )
        for criterion in criteria
    }
    return _object(properties)


def criterion_questions(criteria: Sequence[Criterion]) -> tuple[CriterionQuestion, ...]:
    """The criteria as single questions, with the verdicts that `answer_schema` offers."""
    return tuple(
        CriterionQuestion(
            criterion.id,
            criterion.question,
            (
                {level.label: level.when for level in criterion.levels}
                or {"pass": criterion.pass_when or "", "fail": "The record shows that this does not hold."}
            )
            | {UNKNOWN: "The record does not let a careful reader decide."},
        )
        for criterion in criteria
    )


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


class ShownText:
    """The text that a judge was shown of a run, for checking quotes."""

    def __init__(self, document: Mapping[str, Any], lines: Mapping[str, str] | None = None) -> None:
        """Take a digest's document, and its `document_lines` where they exist already."""
        self._lines = lines
        self._texts = "\n".join(_fold(text) for text in leaf_texts(document))
        self._document = document

    @cached_property
    def _raw(self) -> str:
        """The document's JSON text; most quotes are found in the plain strings, without it."""
        return _fold(join_document((document_lines(self._document) if self._lines is None else self._lines).values()))

    def holds(self, quote: str) -> bool:
        r"""Whether a passage occurs, ignoring differences of whitespace; around `...` its parts must occur in order.

        Example:
            >>> ShownText({"output": "The order  was\nrefunded today."}).holds("order was refunded")
            True
        """
        parts = [part for part in _GAP.split(_fold(quote)) if part]
        if not parts or _in_order(parts, self._texts) or _in_order(parts, self._raw):
            return bool(parts)
        parts = [part for part in _GAP.split(_unescaped(quote)) if part]
        return bool(parts) and _in_order(parts, self._unescaped)

    @cached_property
    def _unescaped(self) -> str:
        """The document's text as a reader takes it who sees through JSON within JSON, however deep."""
        return _unescaped(self._raw)


def _in_order(parts: Iterable[str], text: str) -> bool:
    start = 0
    for part in parts:
        at = text.find(part, start)
        if at < 0:
            return False
        start = at + len(part)
    return True


def _unescaped(text: str) -> str:
    r"""A text without the escapes of JSON, of any depth, folded.

    Example:
        >>> _unescaped(r'[{\"text\": \"Order 4711\\\\ntotal 83.20\"}]')
        '[{"text": "Order 4711 total 83.20"}]'
    """
    plain = _ESCAPE.sub(lambda found: " " if found[1] in "nrt" else found[1], _CODE.sub(_character, text))
    return _fold(plain)


def _character(escape: re.Match[str]) -> str:
    r"""The character of an escape by its number, or of two that are one emoji."""
    pair = b"".join(int(code, 16).to_bytes(2, "big") for code in _CODE_POINT.findall(escape[0]))
    return pair.decode("utf-16-be", "replace")


_ESCAPE = re.compile(r"""\\+([nrt"'/])""")
_CODE = re.compile(r"(?:\\+u[0-9a-fA-F]{4}){1,100}")
_CODE_POINT = re.compile(r"u([0-9a-fA-F]{4})")


def _fold(text: str) -> str:
    return " ".join(text.split())


def parse_answer(content: str, criteria: Sequence[Criterion], *, is_exact: bool = False) -> dict[str, Any]:
    """The answer, checked against `answer_schema`.

    Args:
        content: As the judge gave it.
        criteria: That it must decide.
        is_exact: Whether another shape is not read either; see `fitting`.

    Raises:
        VerdictUnreadable: Not JSON, a doubled key, or not as the schema says; reason `parse`.
    """
    answer = json_of(content)
    if _is_as_asked(answer, criteria):
        assert isinstance(answer, dict)
        return answer
    schema = answer_schema(criteria)
    answer = answer if is_exact else fitted(answer, schema)
    fault = next(Draft202012Validator(schema).iter_errors(answer), None)
    if fault is not None:
        raise VerdictUnreadable(f"the answer is not what was asked for, at {fault.json_path}: {fault.message:.200}")
    assert isinstance(answer, dict)
    return answer


def _is_as_asked(answer: object, criteria: Sequence[Criterion]) -> bool:
    """Whether the answer satisfies `answer_schema`; by hand, since a validator takes a tenth of a score's CPU time."""
    if not isinstance(answer, dict) or answer.keys() != {criterion.id for criterion in criteria}:
        return False
    return all(_is_verdict(answer[criterion.id], criterion) for criterion in criteria)


def _is_verdict(item: object, criterion: Criterion) -> bool:
    if not isinstance(item, dict) or item.keys() != {"evidence", "reason", "verdict"}:
        return False
    verdict, evidence = item["verdict"], item["evidence"]
    is_known = isinstance(verdict, str) and (verdict in criterion.options or verdict == UNKNOWN)
    return is_known and isinstance(item["reason"], str) and isinstance(evidence, list) and all(map(_is_quote, evidence))


def _is_quote(item: object) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == {"step", "quote"}
        and isinstance(item["quote"], str)
        # JSON Schema counts 1.0 as an integer; that is rare, and left to the validator
        and (item["step"] is None or type(item["step"]) is int)
    )


def read_reply(
    reply: Reply, criteria: Sequence[Criterion], shown: ShownText, *, suspected: bool = False
) -> tuple[Outcome, ...]:
    """One outcome for each criterion, in order.

    Args:
        reply: The judge's reply.
        criteria: The criteria of this call.
        shown: What the judge was shown, for checking quotes.
        suspected: Whether the run is suspected of prompt injection.

    Returns:
        Scored, or unscored with truncated, refusal, content_filter, empty_answer or parse (the same for all criteria),
        or unknown. A judge that decides criteria one by one may refuse some.
    """
    if reason := reply_problem(reply):
        why = PROMPT_CUT_MEANS if reason == PROMPT_CUT else storable(reply.refusal or "") or None
        return unscored_all(criteria, reason, suspected=suspected, rationale=why)
    answered = [criterion for criterion in criteria if criterion.id not in reply.refused]
    try:
        # what a judge refused and decided all the same is no extra key
        answer = parse_answer(reply.content or "", answered, is_exact=bool(reply.refused))
    except VerdictUnreadable as error:
        return unscored_all(criteria, error.reason, suspected=suspected, rationale=storable(str(error)))
    return tuple(
        _outcome(criterion, answer[criterion.id], reply.probabilities.get(criterion.id, {}), shown, suspected)
        if criterion.id in answer
        else unscored("refusal", criterion=criterion.id, injection_suspected=suspected)
        for criterion in criteria
    )


def unscored_all(
    criteria: Sequence[Criterion], reason: str, *, suspected: bool = False, rationale: str | None = None
) -> tuple[Outcome, ...]:
    """An unscored outcome with the same reason for every criterion."""
    return tuple(
        unscored(reason, criterion=criterion.id, rationale=rationale, injection_suspected=suspected)
        for criterion in criteria
    )


def _outcome(
    criterion: Criterion, item: Mapping[str, Any], probable: Mapping[str, float], shown: ShownText, suspected: bool
) -> Outcome:
    evidence = tuple(_evidence(quote["step"], quote["quote"], shown) for quote in item["evidence"][:MAX_QUOTES])
    details: dict[str, Any] = {
        "criterion": criterion.id,
        "rationale": storable(item["reason"]),
        "evidence": evidence,
        "evidence_ok": all(quote["found"] for quote in evidence) if evidence else None,
        "injection_suspected": suspected,
    }
    verdict = item["verdict"]
    if verdict == UNKNOWN:
        return unscored("unknown", **details)
    return scored(
        criterion.options[verdict], label=verdict, p_pass=pass_probability.of_criterion(criterion, probable), **details
    )


def _evidence(step: int | None, quote: str, shown: ShownText) -> dict[str, Any]:
    is_valid_step = step is not None and 0 <= step < _MAX_STEP  # a judge may write any number; databases hold 64 bits
    return {
        "step": step if is_valid_step else None,
        "quote": storable(quote, MAX_QUOTE_CHARS),
        "found": shown.holds(quote),
    }


def aggregate(
    rubric: Rubric, outcomes: Sequence[Outcome], probabilities: Mapping[str, Mapping[str, float]] = MappingProxyType({})
) -> Outcome:
    """The outcome of the whole rubric, with criterion None.

    The value is the weighted mean of the decided criteria, and 0 when a required one has its lowest verdict. `p_pass`
    is the expected value where the judge gave probabilities. The label is `pass` from the rubric's threshold on; the
    rubric says which of the two is compared. Unknown criteria do not count. When no criterion is decided, or one is
    unscored for another reason than unknown, the aggregate is unscored, since a partial answer is not comparable with
    the others.

    Args:
        rubric: The rubric.
        outcomes: One for each criterion.
        probabilities: By criterion id, the probabilities of its verdicts; empty where unknown.
    """
    of = {criterion.id: criterion for criterion in rubric.criteria}
    details: dict[str, Any] = {"injection_suspected": any(outcome.injection_suspected for outcome in outcomes)}
    checked = [outcome.evidence_ok for outcome in outcomes if outcome.evidence_ok is not None]
    details["evidence_ok"] = all(checked) if checked else None
    technical = next((outcome for outcome in outcomes if outcome.reason not in (None, "unknown")), None)
    decided = [outcome for outcome in outcomes if outcome.value is not None]
    if technical is not None:
        return unscored(str(technical.reason), rationale=technical.rationale, **details)
    if not decided:
        return unscored("unknown", **details)
    weights = [of[str(outcome.criterion)].weight for outcome in decided]
    values = [outcome.value or 0.0 for outcome in decided]
    value = sum(weight * criterion_value for weight, criterion_value in zip(weights, values, strict=True)) / sum(
        weights
    )
    broken = [outcome for outcome in decided if outcome.value == 0 and of[str(outcome.criterion)].required]
    if broken:
        value = 0.0
    probable = pass_probability.of_aggregate([of[str(outcome.criterion)] for outcome in decided], probabilities)
    measured = value if probable is None or rubric.passing.on == "value" else probable
    label = "pass" if measured >= rubric.threshold else "fail"
    lowest = min(
        decided,
        key=lambda outcome: (outcome.criterion not in {failed.criterion for failed in broken}, outcome.value or 0.0),
    )
    because = _because(lowest, decided, outcomes)
    return scored(min(value, 1.0), label=label, p_pass=probable, rationale=because, **details)


def _because(lowest: Outcome, decided: Sequence[Outcome], outcomes: Sequence[Outcome]) -> str:
    """The rationale of the aggregate: that of its lowest criterion, and which criteria are undecided."""
    open_ = [str(outcome.criterion) for outcome in outcomes if outcome not in decided]
    undecided = f" (undecided: {', '.join(open_)})" if open_ else ""
    return f"{lowest.criterion} {lowest.label}: {lowest.rationale}"[:MAX_REASON_CHARS] + undecided


def storable(text: str, max_chars: int = MAX_REASON_CHARS) -> str:
    r"""A text that every database can store: without NUL and lone surrogates, and shortened.

    Example:
        >>> storable("a\x00b")
        'a�b'
    """
    return _UNSTORABLE.sub("\ufffd", text if len(text) <= max_chars else text[: max_chars - 1] + "…")
