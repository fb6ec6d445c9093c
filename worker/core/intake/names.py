"""Other names for the fields, kinds and statuses of a run: what is taken as ours, and what is only asked about.

One table for all that reads runs; the documentation and the JSON Schema are made of it. A name is taken where it can
mean one thing only. What could be two things (`answer` may be the true answer) is in `NEAR`: it is named to the person
who sent it, and never taken by itself.

Source: the field lists of OpenAI, Anthropic, OpenTelemetry GenAI, OpenInference, Langfuse, LangSmith, OpenLLMetry,
MLflow, Opik and the AI SDK (FORMATS §2, FORMATS2 §1 and §5).
"""

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from worker.records import Run, Step

Where = Literal["run", "step"]

_STARTED = (
    "start_time",
    "start_timestamp",
    "started",
    "begin_time",
    "start_time_unix_nano",
    "start_time_unix",
    "start_ms",
)
_ENDED = (
    *("end_time", "end_timestamp", "ended", "finished_at", "completed_at", "finish_time", "stopped_at"),
    *("end_time_unix_nano", "end_time_unix", "end_ms"),
)
_INPUT_TOKENS = (
    *("tokens_in", "prompt_tokens", "input_token_count", "prompt_token_count", "tokens_prompt", "tokens_input"),
    *("in_tokens", "num_input_tokens", "num_prompt_tokens", "n_input_tokens", "gen_ai_usage_input_tokens"),
    *("gen_ai_usage_prompt_tokens", "llm_token_count_prompt", "ai_usage_prompt_tokens", "ai_usage_input_tokens"),
)
_OUTPUT_TOKENS = (
    *("tokens_out", "completion_tokens", "output_token_count", "completion_token_count", "tokens_completion"),
    *("candidates_token_count", "tokens_output", "out_tokens", "num_output_tokens", "num_completion_tokens"),
    *("n_output_tokens", "gen_ai_usage_output_tokens", "gen_ai_usage_completion_tokens", "llm_token_count_completion"),
    *("ai_usage_completion_tokens", "ai_usage_output_tokens"),
)
_COST = (
    "total_cost",
    "response_cost",
    "total_cost_usd",
    "cost_in_usd",
    "cost_dollars",
    "usd",
    "price_usd",
    "cost_cents",
)
_MS = ("elapsed_ms", "took_ms", "time_ms", "wall_time_ms", "response_time_ms", "total_time_ms", "execution_time_ms")
_OTHER_UNITS = (
    *("duration_s", "latency_s", "elapsed_s", "duration_sec", "latency_sec", "duration_seconds", "latency_seconds"),
    *("elapsed_seconds", "duration_us", "latency_us", "duration_ns", "latency_ns", "duration_nano"),
)
_SAID = ("latency", "duration", "elapsed", "elapsed_time", "response_time", "execution_time")
MODEL_NAMES = (
    *("model_name", "model_id", "llm_model", "llm_model_name", "gen_ai_response_model", "gen_ai_request_model"),
    *("response_model", "request_model", "ai_model_id"),
)

RUN_NAMES: Mapping[str, tuple[str, ...]] = {
    "latency_ms": ("duration_ms", *_MS, *_OTHER_UNITS, *_SAID),
    "input_tokens": ("total_input_tokens", "total_prompt_tokens", *_INPUT_TOKENS),
    "output_tokens": ("total_output_tokens", "total_completion_tokens", *_OUTPUT_TOKENS),
    "cost_usd": (*_COST, "cost", "price"),
    "started_at": _STARTED,
    "ended_at": _ENDED,
    "input": ("prompt", "question", "query", "user_input", "user_message", "input_text"),
    "output": ("response", "completion", "final_output", "final_response", "output_text"),
    "agent": ("agent_name", "gen_ai_agent_name"),
    "agent_version": ("gen_ai_agent_version",),
    "session_id": ("conversation_id", "thread_id", "chat_id", "gen_ai_conversation_id"),
    "user_id": ("end_user_id",),
    "error": ("error_message", "error_msg", "exception", "error_text"),
    "stop_reason": ("finish_reason",),
    "model": MODEL_NAMES,
}
"""Names of a run's fields elsewhere, by our field, in snake case (`spelt`); the first that a document has is taken."""

STEP_NAMES: Mapping[str, tuple[str, ...]] = {
    "kind": (
        *("type", "step_type", "span_type", "span_kind", "openinference_span_kind", "run_type", "observation_type"),
        *("gen_ai_operation_name", "traceloop_span_kind", "langsmith_span_kind", "mlflow_span_type"),
    ),
    "name": ("tool_name", "function_name", "tool", "gen_ai_tool_name", "ai_tool_call_name", "span_name"),
    "arguments": (
        *("args", "input", "inputs", "parameters", "params", "tool_input", "tool_args", "tool_arguments", "kwargs"),
        *("gen_ai_tool_call_arguments", "ai_tool_call_args", "input_value"),
    ),
    "result": (
        *("output", "outputs", "response", "observation", "tool_output", "tool_result", "return_value", "content"),
        *("gen_ai_tool_call_result", "ai_tool_call_result", "output_value"),
    ),
    "error": ("error_message", "error_msg", "exception", "err", "error_text", "error_type"),
    "started_at": _STARTED,
    "ended_at": _ENDED,
    "duration_ms": ("latency_ms", "ms", *_MS, *_OTHER_UNITS, *_SAID),
    "model": MODEL_NAMES,
    "input_tokens": _INPUT_TOKENS,
    "output_tokens": _OUTPUT_TOKENS,
    "cost_usd": (*_COST, "cost", "price"),
    "seq": ("step_number", "step_index", "index", "idx"),
}
"""The same for a step. `ended_at` is no field of a step: with `started_at` it gives `duration_ms`."""

UNITS: Mapping[str, float] = {
    **dict.fromkeys((name for name in _OTHER_UNITS if name.endswith(("_s", "_sec", "_seconds"))), 1_000.0),
    **dict.fromkeys(("duration_us", "latency_us"), 1e-3),
    **dict.fromkeys(("duration_ns", "latency_ns", "duration_nano"), 1e-6),
    "cost_cents": 0.01,
}
"""What a number under this name is multiplied with; 1 for the others."""

MUST_SAY = frozenset({*_SAID, "cost", "price"})
"""Names without a unit: taken where the value says it ("1.2s", "$0.031"), else only asked about."""

FAILED_FLAGS: Mapping[str, bool] = {
    **dict.fromkeys(("is_error", "failed", "has_error"), True),
    **dict.fromkeys(("success", "ok", "succeeded", "is_success"), False),
}
"""Fields of a step that say by true or false whether it failed: the value that means that it did."""

TOOL_ONLY = frozenset(
    {
        *("tool_name", "function_name", "tool", "gen_ai_tool_name", "ai_tool_call_name", "tool_input", "tool_args"),
        *("tool_arguments", "tool_output", "tool_result", "gen_ai_tool_call_arguments", "gen_ai_tool_call_result"),
        *("ai_tool_call_args", "ai_tool_call_result"),
    }
)
"""Names that only a tool call has: a step with one of them and without a kind is a tool's."""

STEP_STATUS = ("status", "state", "status_code", "outcome", "level")
"""Fields of a step that say it in a word, or as HTTP does; one that means errored is its error where it gives none."""

EXIT_CODES = ("exit_code", "return_code", "returncode", "exit_status")
"""Fields of a step that say it by a number, of which 0 is fine."""

NEAR: Mapping[Where, Mapping[str, str]] = {
    "run": {
        **dict.fromkeys(("id", "uuid", "runid", "execution_id", "request_id", "invocation_id"), "run_id"),
        **dict.fromkeys(("task", "category", "intent", "use_case", "workflow", "workflow_name"), "task_type"),
        **dict.fromkeys(("state", "outcome", "run_status", "success", "result_status"), "status"),
        **dict.fromkeys(("timestamp", "time", "date", "ts", "updated_at"), "ended_at"),
        "created_at": "started_at",
        **dict.fromkeys(("request", "inputs", "user_prompt", "messages"), "input"),
        **dict.fromkeys(("answer", "final_answer", "result", "outputs", "reply", "generation", "choices"), "output"),
        **dict.fromkeys(("tool_calls", "spans", "events", "trajectory", "observations", "actions"), "steps"),
        **dict.fromkeys(("version", "app_version", "release"), "agent_version"),
        **dict.fromkeys(("assistant", "bot", "app"), "agent"),
        **dict.fromkeys(("session", "thread", "conversation"), "session_id"),
        **dict.fromkeys(("user", "customer_id"), "user_id"),
        "trace": "trace_id",
    },
    "step": {
        **dict.fromkeys(("action", "function", "title"), "name"),
        **dict.fromkeys(("prompt", "request", "query", "messages"), "arguments"),
        **dict.fromkeys(("text", "value", "message", "data", "answer", "completion"), "result"),
        **dict.fromkeys(("timestamp", "time", "ts", "created_at"), "started_at"),
        "role": "kind",
        "category": "kind",
    },
}
"""What a name may mean, for the question "did you mean"; not taken."""

KINDS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("tool", "tools", "tool_call", "toolcall", "tool_use", "tooluse", "tool_execution", "execute_tool"),
            *("function", "function_call", "functioncall", "mcp", "mcp_call", "mcp_tool", "mcp_tool_call", "mcp_tools"),
            *("retriever", "retrieval", "retrieve", "ai_tool_call", "ai_toolcall", "server_tool_use", "builtin_tool"),
        ),
        "tool",
    ),
    **dict.fromkeys(
        (
            *("model", "llm", "llm_call", "llm_request", "llm_generation", "generation", "generate", "completion"),
            *("chat", "chat_completion", "chat_model", "chatmodel", "text_completion", "generate_content", "inference"),
            *("model_call", "model_request", "language_model", "decision", "ai_generate_text", "ai_stream_text"),
            *("ai_generate_text_do_generate", "ai_stream_text_do_stream", "assistant"),
        ),
        "model",
    ),
    **dict.fromkeys(
        ("agent", "sub_agent", "subagent", "agent_run", "agent_call", "invoke_agent", "invoke_workflow", "workflow"),
        "agent",
    ),
    **dict.fromkeys(
        (
            *("other", "chain", "span", "event", "embedding", "embeddings", "reranker", "rerank", "guardrail"),
            *("evaluator", "prompt", "parser", "task", "custom", "handoff", "memory", "general", "unknown", "step"),
            *("create_agent", "plan", "turn", "score", "user", "human", "system", "message", "log"),
        ),
        "other",
    ),
}
"""Kinds of steps elsewhere, spelt in snake case, by ours; `kind_of` reads them."""

STATUSES: Mapping[str, str] = {
    **dict.fromkeys(("completed", "complete", "success", "successful", "succeeded", "ok", "finished"), "completed"),
    **dict.fromkeys(("errored", "error", "failed", "failure", "fail", "exception", "crashed"), "errored"),
    **dict.fromkeys(
        ("aborted", "abort", "cancelled", "canceled", "timeout", "timed_out", "interrupted", "killed", "terminated"),
        "aborted",
    ),
    "incomplete": "incomplete",
}
"""Statuses of runs elsewhere, spelt in snake case, by ours; what is not here (done, stopped) can mean two of them."""

NOT_ENDED = frozenset(
    {"running", "pending", "queued", "in_progress", "started", "open", "active", "processing", "created"}
)
"""Statuses of runs that are under way."""

_STEP_FIELDS = frozenset(Step.model_fields)
_RUN_FIELDS = frozenset(Run.model_fields)
_LONGEST_NAME = 80
_CLOSE = 0.84
"""Similarity from which a name is asked about; at this the prototype was right in 71 of 77 fields (FORMATS2 §5)."""


def _by_name(fields: Mapping[str, tuple[str, ...]]) -> Mapping[str, str]:
    return {name: field for field, names in fields.items() for name in names}


_OTHERS: Mapping[Where, Mapping[str, str]] = {"run": _by_name(RUN_NAMES), "step": _by_name(STEP_NAMES)}
_FIELDS: Mapping[Where, frozenset[str]] = {"run": _RUN_FIELDS, "step": _STEP_FIELDS | {"ended_at"}}
_RANK: Mapping[str, int] = {
    f"{where}.{name}": rank
    for where, table in (("run", RUN_NAMES), ("step", STEP_NAMES))
    for names in table.values()
    for rank, name in enumerate(names, start=1)
}


@lru_cache(maxsize=4_096)
def spelt(name: str) -> str:
    """A name in snake case, however it is written.

    Example:
        >>> spelt("latencyMs"), spelt("gen_ai.usage.input-tokens"), spelt("LLM"), spelt("RunType.TOOL")
        ('latency_ms', 'gen_ai_usage_input_tokens', 'llm', 'run_type_tool')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^0-9A-Za-z]+", "_", name[:_LONGEST_NAME])
    return words.strip("_").lower()


@lru_cache(maxsize=4_096)
def field_of(where: Where, name: str) -> str | None:
    """Our field that a name stands for, by its spelling or by `RUN_NAMES` or `STEP_NAMES`; None where there is none.

    Example:
        >>> field_of("step", "latency_ms"), field_of("run", "runId"), field_of("run", "answer")
        ('duration_ms', 'run_id', None)
    """
    plain = spelt(name)
    field = plain if plain in _FIELDS[where] else _OTHERS[where].get(plain)
    return field if field in _FIELDS[where] else None


def rank(where: Where, name: str) -> int:
    """Which of several names of one field is taken: the lowest; 0 is our own name in another spelling."""
    return _RANK.get(f"{where}.{spelt(name)}", 0)


@lru_cache(maxsize=4_096)
def meant(where: Where, name: str) -> str | None:
    """The field that a name was probably meant for, to ask; None where nothing is near.

    Example:
        >>> meant("step", "duratoin_ms"), meant("run", "answer"), meant("run", "csat")
        ('duration_ms', 'output', None)
    """
    plain = spelt(name)
    known = field_of(where, name) or NEAR[where].get(plain)
    if known is None:
        fields = _FIELDS[where] - {"tags", "source", "content", "revision", "received_at"}
        names = sorted(fields | {name for name, field in _OTHERS[where].items() if field in fields})
        close = difflib.get_close_matches(plain, names, n=1, cutoff=_CLOSE)
        known = _OTHERS[where].get(close[0], close[0]) if close else None
    return "duration_ms" if (where, known) == ("step", "ended_at") else known


@lru_cache(maxsize=4_096)
def kind_of(value: str) -> str | None:
    """Our kind of step; None where the word is not known, which counts as other.

    Example:
        >>> kind_of("TOOL"), kind_of("llm.call"), kind_of("SpanKind.RETRIEVER"), kind_of("teapot")
        ('tool', 'model', 'tool', None)
    """
    whole = KINDS.get(spelt(value))
    return KINDS.get(spelt(value.rpartition(".")[2])) if whole is None else whole


def has_failed(value: object) -> bool | None:
    """Whether a status of a step means that it failed; None where that is not known.

    Args:
        value: A word, the number of an HTTP status, or an object with one of these as `code`, as OpenTelemetry has it.

    Example:
        >>> has_failed("failed"), has_failed("STATUS_CODE_OK"), has_failed(503), has_failed({"code": "ERROR"})
        (True, False, True, True)
        >>> has_failed("done"), has_failed(3)
        (None, None)
    """
    if isinstance(value, Mapping):
        value = value.get("code", value.get("status_code"))
    if isinstance(value, str):
        word = spelt(value).removeprefix("status_code_")
        if word in _STEP_WORDS:
            return _STEP_WORDS[word]
        if not (word.isascii() and word.isdecimal() and len(word) == 3):
            status = status_of(word)
            return None if status is None else status == "errored"
        value = int(word)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return True if 400 <= value <= 599 else False if 200 <= value <= 299 else None


_STEP_WORDS: Mapping[str, bool] = {
    **dict.fromkeys(("timeout", "timed_out", "output_error"), True),
    **dict.fromkeys(("unset", "output_available"), False),
}


@lru_cache(maxsize=4_096)
def status_of(value: str) -> str | None:
    """Our status of a run; None where the word is not known or can mean two.

    Example:
        >>> status_of("SUCCESS"), status_of("cancelled"), status_of("done")
        ('completed', 'aborted', None)
    """
    return STATUSES.get(spelt(value))
