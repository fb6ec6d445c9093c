"""A document of each of other tools' exports, written by hand from their formats, and a run."""

from typing import Any

RUN = {"run_id": "r-1", "task_type": "refund", "status": "completed", "ended_at": "2026-11-20T14:02:41Z"}
LANGFUSE_TRACE = {
    "id": "5f0c",
    "timestamp": "2026-11-20T14:02:41Z",
    "name": "refund",
    "userId": "u",
    "sessionId": "s",
    "projectId": "p",
    "input": "Refund?",
    "output": "Done.",
    "tags": [],
    "totalCost": 0.002,
    "latency": 4.7,
    "htmlPath": "/project/p/traces/5f0c",
    "observations": [],
    "scores": [],
}
LANGFUSE_OBSERVATION: dict[str, Any] = {
    "id": "9c1d",
    "traceId": "5f0c",
    "type": "AGENT",
    "startTime": "2026-11-29T10:00:00Z",
    "parentObservationId": None,
    "endTime": "2026-11-29T10:00:04Z",
    "input": "q",
    "output": "a",
    "usageDetails": {},
    "totalCost": 0.0021,
}
LANGSMITH = {
    "id": "01a2",
    "trace_id": "01a2",
    "name": "desk",
    "run_type": "chain",
    "status": "success",
    "inputs": {"q": 1},
    "outputs": {"a": 2},
    "start_time": "2026-11-20T14:02:40Z",
    "end_time": "2026-11-20T14:02:41Z",
    "dotted_order": "x",
}
OTLP = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [{"traceId": "aa", "spanId": "bb"}]}]}]}
BATCH = {"id": "batch_req_1", "custom_id": "1", "response": {"status_code": 200, "body": {}}, "error": None}
SPAN = {
    "name": "chat",
    "context": {"trace_id": "0x1", "span_id": "0x2"},
    "kind": "SpanKind.INTERNAL",
    "parent_id": None,
}
