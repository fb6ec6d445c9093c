"""What may stand in a queue of a broker and is no message of ours, and what is one."""

import json
import pickle
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

Raw = Mapping[str, Any]


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def body(args: Any = (), kwargs: Any = None, embed: Any = None) -> str:
    nothing = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return _base64(json.dumps([list(args), kwargs or {}, nothing if embed is None else embed]).encode())


def message(queue: str, **over: Any) -> dict[str, Any]:
    """As Celery writes it; give parts to change."""
    number = str(uuid4())
    task = {"judge": "spotcheck.drain_judge", "heuristics": "spotcheck.drain_heuristics"}.get(queue, "spotcheck.tick")
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": number,
        "expires": None,
        "retries": 0,
        "timelimit": [660, 600],
    }
    headers |= {"root_id": number, "argsrepr": "()", "kwargsrepr": "{}", "origin": "gen1@host", "stamps": {}}
    properties = {"correlation_id": number, "delivery_mode": 2, "priority": 0, "body_encoding": "base64"}
    properties |= {"delivery_info": {"exchange": "", "routing_key": queue}, "delivery_tag": str(uuid4())}
    return {
        "body": over.get("body", body()),
        "content-encoding": over.get("encoding", "utf-8"),
        "content-type": over.get("type", "application/json"),
        "headers": without(headers | over.get("headers", {})),
        "properties": without(properties | over.get("properties", {})),
    }


def without(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that are not to be left out."""
    return {name: value for name, value in parts.items() if value is not ...}


BYTES: Mapping[str, bytes] = {
    "empty": b"",
    "not JSON": b"wake up",
    "half of JSON": b'{"body": "',
    "binary": bytes(range(256)),
    "a wrong encoding": json.dumps(message("judge"), ensure_ascii=False).encode("utf-16"),
    "nested": b"[" * 200_000,
    "kombu's types with rubbish in them": b'{"__type__": "datetime", "__value__": 3}',
    "kombu's types with more of it": b'{"__type__": "decimal", "__value__": {}}',
}
"""What cannot be read at all."""
FRAMES: Mapping[str, Callable[[str], Any]] = {
    "a text": lambda queue: "wake up",
    "a list": lambda queue: [message(queue)],
    "an empty object": lambda queue: {},
    "null": lambda queue: None,
    "no properties": lambda queue: {**message(queue), "properties": None},
    "no headers": lambda queue: {**message(queue), "headers": None},
    "headers that are a list": lambda queue: {**message(queue), "headers": ["task"]},
    "no delivery tag": lambda queue: message(queue, properties={"delivery_tag": ...}),
    "a delivery tag that is a list": lambda queue: message(queue, properties={"delivery_tag": []}),
    "no delivery info": lambda queue: message(queue, properties={"delivery_info": ...}),
    "no body": lambda queue: message(queue, body=None),
    "a body that is not base64": lambda queue: message(queue, body="%%%"),
    "an unknown body encoding": lambda queue: message(queue, properties={"body_encoding": "rot13"}),
    "a huge body": lambda queue: message(queue, body=_base64(b" " * 300_000)),
    "a body that grows": lambda queue: message(
        queue, headers={"compression": "application/x-gzip"}, body=_base64(zlib.compress(bytes(100_000_000)))
    ),
}
"""What kombu could not unpack, or should not."""
TASKS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "no task": lambda queue: message(queue, headers={"task": ...}),
    "an unknown task": lambda queue: message(queue, headers={"task": "os.system"}),
    "a task that is a list": lambda queue: message(queue, headers={"task": ["spotcheck.tick"]}),
    "no id": lambda queue: message(queue, headers={"id": ...}),
    "a wrong content type": lambda queue: message(queue, type="text/html"),
    "a content type that is a list": lambda queue: message(queue, type=[]),
    "a pickle": lambda queue: message(
        queue, type="application/x-python-serialize", encoding="binary", body=_base64(pickle.dumps([(), {}, {}]))
    ),
    "a wrong content encoding": lambda queue: message(queue, encoding="utf-32"),
    "a body that is not JSON": lambda queue: message(queue, body=_base64(b"wake up")),
    "a body that is an object": lambda queue: message(queue, body=_base64(b'{"task": "spotcheck.tick", "id": "1"}')),
    "a nested body": lambda queue: message(queue, body=_base64(b"[" * 100_000)),
    "arguments": lambda queue: message(queue, body=body([1, 2])),
    "named arguments": lambda queue: message(queue, body=body((), {"night": "2026-11-30"})),
    "another task to follow": lambda queue: message(
        queue, body=body(embed={"chain": [{"task": "spotcheck.tick", "args": [], "kwargs": {}, "options": {}}]})
    ),
    "an end that is no time": lambda queue: message(queue, headers={"expires": "soon"}),
    "an end in the year 9999": lambda queue: message(queue, headers={"expires": "9999-12-31T23:59:59+00:00"}),
    "an end that is a number": lambda queue: message(queue, headers={"expires": 10**30}),
    "an eta": lambda queue: message(queue, headers={"eta": "9999-12-31T23:59:59.999999-12:00"}),
    "limits that are a text": lambda queue: message(queue, headers={"timelimit": "long"}),
    "limits that are lists": lambda queue: message(queue, headers={"timelimit": [[], {}]}),
    "retries that are a text": lambda queue: message(queue, headers={"retries": "many"}),
    "stamps that are a list": lambda queue: message(queue, headers={"stamped_headers": "x", "stamps": []}),
}
"""What kombu can unpack, and Celery should not start."""
