"""Replies of the Responses and decisions APIs that OpenAI's own types accept."""

from collections.abc import Mapping
from typing import Any

from openai.types.decision import Decision
from openai.types.responses import Response


def chosen(name: str | None, probable: Mapping[str, float]) -> dict[str, Any]:
    best = max(probable, key=probable.__getitem__)
    listed = [{"value": word, "probability": p} for word, p in probable.items()]
    return {"type": "choice", "name": name, "choice": best, "confidence": probable[best], "probabilities": listed}


def a_decision(*answers: dict[str, Any], **over: Any) -> dict[str, Any]:
    """An answer that OpenAI's own type accepts."""
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 102,
    }
    made = {"answers": list(answers), "model": "gpt-6-luna-2026", "usage": usage}
    Decision.model_validate(made)
    return made | over


def a_message(*parts: dict[str, Any], **over: Any) -> dict[str, Any]:
    return {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": list(parts)} | over


def text(said: str) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": []}


def a_response(*output: dict[str, Any], **over: Any) -> dict[str, Any]:
    """An answer that OpenAI's own type accepts."""
    made: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "judge-2026",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 0},
            "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 110,
        },
    }
    Response.model_validate(made | over, strict=False)
    return made | over
