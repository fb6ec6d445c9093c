"""One judgment to read: the verdict with its evidence and arithmetic, and the prompt and the answer behind it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from worker.cli.output import inline
from worker.queries.judgments import Arithmetic, RunJudgment
from worker.scorers.rubric.judgment import MAX_ANSWER_CHARS, StoredCall

_FORMS = {"json_schema": "a JSON schema", "tool": "a tool call", "json_object": "a JSON object", "prompt": "the prompt"}
_COUNTS = {
    "missing": "the server did not count all tokens, so the cost is not known, and what a budget reserved is charged",
    "contradictory": "the server's counts contradict each other, and this is the most they can mean",
}
_IN_PROMPT = ("json_object", "prompt")
"""Forms in which the schema is written behind the last user message."""
_JUDGE = (
    *("model_requested", "model_served", "fingerprint", "service_tier"),
    *("input_tokens", "cached_tokens", "output_tokens", "cost_usd", "latency_ms", "digest_version"),
)


def told(one: RunJudgment, others: Sequence[RunJudgment], *, raw: bool) -> Iterator[str]:
    """The lines for a person.

    Args:
        one: The judgment.
        others: What else judged the run, and was meant by the same name.
        raw: Whether to show the exact messages and the raw answers.
    """
    total = one.aggregate
    at = "" if one.at is None else f" · {one.at:%d %b %Y %H:%M} UTC"
    model = "no judge" if one.model is None else one.model
    served = total["model_served"] if total is not None else None
    yield inline(f"{one.scorer} {one.series} · {model}{f' (served {served})' if served else ''}{at}")
    yield one.missing if one.stored is None and one.missing else _prompt_line(one)
    if one.active_series is not None and one.active_series != one.series:
        yield f"another series is active now: {one.active_series}"
    weights = {} if one.stored is None else {each["id"]: each for each in one.stored.passing["criteria"]}
    for row in one.verdicts:
        if row["criterion"] is not None:
            yield from _criterion(row, weights.get(row["criterion"], {}))
    if total is None:
        yield "  " + inline(f"{one.state}: {one.reason or 'no score'}")
    elif total["value"] is None:
        why = f": {total['rationale']}" if total["rationale"] else ""
        yield "  " + inline(f"unscored: {total['reason']}{why}")
    else:
        yield _value_line(one, total)
    if one.overruled:
        first = next(row for row in one.overruled if row["criterion"] is None)
        said = first["label"] or f"unscored ({first['reason']})"
        yield "  " + inline(f"another judge, {first['model_requested']}, said {said}, which does not count")
    suspicions = () if one.stored is None else one.stored.suspicions
    if suspicions or (total is not None and total["injection_suspected"]):
        yield "  ⚑ looks like an injection" + (f": {', '.join(suspicions)}" if suspicions else "")
    if raw and one.stored is not None:
        for number, call in enumerate(one.stored.calls, 1):
            yield from _raw(call, number, len(one.stored.calls))
    if others:
        names = ", ".join(f"{each.series} ({each.at:%d %b})" if each.at else each.series for each in others)
        yield f"\njudged {len(others) + 1} times; the others: {names}; name one with --judgment SERIES"


def _prompt_line(one: RunJudgment) -> str:
    checked = "hash checked" if one.hash_ok else "does not match what is stored"
    parts = [f"prompt {one.prompt_hash} as sent ({checked})"]
    count = len(one.stored.calls) if one.stored else 0
    if count > 1:
        parts.append(f"{count} calls")
    total = one.aggregate
    if total is not None and total["input_tokens"] is not None:
        cached = f" ({total['cached_tokens']:,} cached)" if total["cached_tokens"] else ""
        out = "an unknown number" if total["output_tokens"] is None else f"{total['output_tokens']:,}"
        parts.append(f"{total['input_tokens']:,} tokens in{cached}, {out} out")
    if one.is_from_cache:
        parts.append("answered before, not paid again")
    elif total is not None and total["cost_usd"] is not None:
        parts.append(f"${total['cost_usd']:.4f}")
    if one.counts is not None:
        parts.append(_COUNTS[one.counts])
    return " · ".join(parts)


def _criterion(row: Mapping[str, Any], weight: Mapping[str, Any]) -> Iterator[str]:
    verdict = row["label"] or row["reason"]
    sure = "" if row["p_pass"] is None else f"  p_pass {row['p_pass']:.2f}"
    heavy = f" ×{weight['weight']:g}" if weight.get("weight", 1) != 1 else ""
    required = " required" if weight.get("required") else ""
    yield "  " + inline(f"{row['criterion']}: {verdict}") + heavy + required + sure
    if row["rationale"]:
        yield f"      {inline(row['rationale'])}"
    for quote in row["evidence"] or ():
        step = "" if quote.get("step") is None else f"step {quote['step']}  "
        mark, lost = ("✓", "") if quote.get("found") else ("✗", "  not in what the judge was shown")
        yield f'      {mark} {step}"{inline(str(quote.get("quote")))}"{lost}'


def _value_line(one: RunJudgment, total: Mapping[str, Any]) -> str:
    made, value = one.arithmetic, f"value {total['value']:.2f}"
    sure = "" if total["p_pass"] is None else f"p_pass {total['p_pass']:.2f}"
    if made is None:
        return "  " + "   ".join(filter(None, (value, f"{sure} → {total['label']}".strip())))
    value = f"{value} ({_sum(made)})"
    parts = (value, sure) if made.on == "p_pass" else (sure, value)  # what is compared stands last
    sign = "≥" if made.label == "pass" else "<"
    return f"  {'   '.join(filter(None, parts))} {sign} {made.threshold:.2f} → {made.label}"


def _sum(made: Arithmetic) -> str:
    if made.required_failed:
        return f"required {', '.join(made.required_failed)} failed"
    if len(made.criteria) == 1:
        return "the one criterion"
    weights = sum(one["weight"] for one in made.criteria)
    return " + ".join(f"{one['weight']:g}×{one['value']:g}" for one in made.criteria).join(("(", f") / {weights:g}"))


def _raw(call: StoredCall, number: int, count: int) -> Iterator[str]:
    yield f"\n— call {number} of {count}: {inline(str(call.question['model']))} —"
    for message in (*call.messages, *call.again):
        yield f"— {message.role} —"
        yield message.content
    for asked in call.asked:
        yield f"— {asked.criterion} —"
        yield asked.question
        yield from (f"{word}: {when}" for word, when in asked.options.items())
    if not call.asked:
        form = str((call.reply or {}).get("params_effective", {}).get("response_format", ""))
        where = "behind the last user message" if form in _IN_PROMPT else f"as {_FORMS.get(form, form or 'sent')}"
        yield f"— schema, {where} —"
        yield orjson.dumps(call.schema).decode()
    yield "— answer —"
    if call.reply is None:
        yield f"(none: {call.error})"
        return
    if call.reply.get("refusal"):
        yield f"(refused: {call.reply['refusal']})"
    yield call.reply.get("content") or "(no text)"
    if "content" in call.cut:
        yield f"(cut: {MAX_ANSWER_CHARS:,} of {call.cut['content']:,} characters are kept)"
    if (reason := call.reply.get("finish_reason")) not in (None, "stop"):
        yield f"(ended: {inline(str(reason))})"


def as_document(one: RunJudgment, others: Sequence[RunJudgment]) -> dict[str, Any]:
    """The same for machines, complete whether `--raw` is given or not."""
    total = one.aggregate or {}
    calls = [_call_document(call) for call in (one.stored.calls if one.stored else ())]
    first = next((_call_document(call) for call in one.deciding), None)
    last = one.deciding[0].reply if one.deciding else None
    return {
        "scorer": one.scorer,
        "version": one.version,
        "series": one.series,
        "active_series": one.active_series,
        "purpose": one.purpose,
        "state": one.state,
        "at": one.at,
        "prompt": [] if first is None else first["prompt"],
        "schema": None if first is None else first["schema"],
        "prompt_hash": one.prompt_hash,
        "hash_ok": one.hash_ok,
        "answer": None if first is None else first["answer"],
        "label": total.get("label"),
        "value": total.get("value"),
        "p_pass": total.get("p_pass"),
        "reason": total.get("reason") or one.reason,
        "criteria": [_criterion_document(row) for row in one.verdicts if row["criterion"] is not None],
        "evidence": [
            {"criterion": row["criterion"], **quote} for row in one.verdicts for quote in row["evidence"] or ()
        ],
        "arithmetic": None if one.arithmetic is None else one.arithmetic._asdict(),
        "suspicions": [] if one.stored is None else list(one.stored.suspicions),
        "judge": {name: total.get(name) for name in _JUDGE}
        | {
            "counts": one.counts,
            "params": (last or {}).get("params_effective", {}),
            "from_cache": one.is_from_cache,
        },
        "overruled": [_criterion_document(row) for row in one.overruled],
        "missing": one.missing,
        "others": [{"series": each.series, "purpose": each.purpose, "at": each.at} for each in others],
        "calls": calls,
    }


def _criterion_document(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("criterion", "label", "value", "p_pass", "reason", "rationale", "evidence_ok")
    return {name: row[name] for name in fields}


def _call_document(call: StoredCall) -> dict[str, Any]:
    reply = dict(call.reply or {})
    return {
        "prompt": [message._asdict() for message in call.messages],
        "again": [message._asdict() for message in call.again],
        "asked": [asked._asdict() for asked in call.asked],
        "schema": call.schema,
        **call.question,
        "answer": reply.pop("content", None),
        "cut": call.cut,
        "error": call.error,
        "reply": reply,
    }
