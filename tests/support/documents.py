"""Runs as JSON documents, and files of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson


def a_document(run_id: str, **over: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "task_type": "refund",
        "status": "completed",
        "ended_at": (datetime.now(UTC) - timedelta(days=2)).isoformat(),
        "input": "Please refund order 4711, the lamp came broken.",
        "output": "I have refunded $41.50 for order 4711.",
        **over,
    }


def lines(*documents: object) -> bytes:
    return b"".join(orjson.dumps(document) + b"\n" for document in documents)
