"""What a broker delivers is looked at before it is believed: whoever reaches the broker may have put it there.

Our messages carry nothing but the name of a task, so that little may be in them. What is anything else is dropped with
one line in the log, and never comes back: the work is in the database, and beat wakes the workers again.
"""

import json
import logging
from base64 import b64decode
from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any

log = logging.getLogger("spotcheck")
MAX_BYTES = 256 * 1024
"""Ours have about one kilobyte; a message for `celery inspect` a few."""
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""What kombu's JSON raises, which makes objects of some of what it reads."""
_ADDRESS = ("exchange", "routing_key")
_OPTIONAL: Mapping[str, type | tuple[type, ...]] = {
    "lang": str,
    "shadow": str,
    "group": str,
    "group_index": int,
    "retries": int,
    "root_id": str,
    "parent_id": str,
    "argsrepr": str,
    "kwargsrepr": str,
    "origin": str,
    "ignore_result": bool,
    "replaced_task_nesting": int,
    "stamped_headers": list,
    "stamps": dict,
    "expires": str,
}
"""Headers that Celery reads, and what they must be where they are there; it believes them."""


class NotAMessage(Exception):
    """Why something is no message of ours."""


def dropped(queue: object, why: object) -> None:
    """Say that a message was dropped."""
    log.warning("broker: a message in %.40r was dropped: %.200s; the ledger keeps the work", queue, why)


def check_frame(message: object) -> None:
    """Check what a queue held, before kombu unpacks it.

    Raises:
        NotAMessage: It is none that kombu could unpack, it is packed so that it may grow, or it is far too large.
    """
    frame = _mapping(message, "it")
    headers = _mapping(frame.get("headers"), "headers")
    if headers.get("compression") is not None:
        raise NotAMessage("its body is compressed")
    properties = _mapping(frame.get("properties"), "properties")
    delivery = _mapping(properties.get("delivery_info"), "delivery_info")
    texts = {"delivery_tag": properties.get("delivery_tag"), **{key: delivery.get(key) for key in _ADDRESS}}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise NotAMessage(f"{name} is no text")
    body = frame.get("body")
    if not isinstance(body, str):
        raise NotAMessage("body is no text")
    if len(body) > MAX_BYTES:
        raise NotAMessage(f"body has {len(body)} characters")
    encoding = properties.get("body_encoding")
    if encoding not in (None, "base64"):
        raise NotAMessage("body_encoding is not base64")
    try:
        _ = b64decode(body, validate=True) if encoding else body.encode()
    except ValueError:
        raise NotAMessage("body is not base64") from None


def check_task(message: Any, tasks: Container[str]) -> None:  # noqa: ANN401 kombu's Message
    """Check a message that is to start a task.

    Args:
        message: As kombu unpacked it.
        tasks: Names of the tasks that there are.

    Raises:
        NotAMessage: It starts none of them, or does more than that.
    """
    if message.errors:
        raise NotAMessage("it cannot be unpacked")
    headers = _mapping(message.headers, "headers")
    name = headers.get("task")
    if not isinstance(name, str) or name not in tasks:
        raise NotAMessage("it names no task of ours")
    if not isinstance(headers.get("id"), str):
        raise NotAMessage("id is no text")
    for key, kind in _OPTIONAL.items():
        value = headers.get(key)
        if value is not None and not isinstance(value, kind):
            raise NotAMessage(f"header {key} is not as Celery writes it")
    if headers.get("eta") is not None:
        raise NotAMessage("it has an eta")
    if (expires := headers.get("expires")) is not None:
        _check_time(expires)
    limits = headers.get("timelimit") or []
    if not isinstance(limits, list) or not all(limit is None or type(limit) in (int, float) for limit in limits):
        raise NotAMessage("header timelimit is not as Celery writes it")
    if (message.content_type, str(message.content_encoding).lower()) != ("application/json", "utf-8"):
        raise NotAMessage("it is not JSON in UTF-8")
    _check_body(message.body)


def _check_time(text: str) -> None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or not 1970 < time.year < 9000:  # any time zone can hold it
        raise NotAMessage("header expires is no time")


def _check_body(body: bytes | str) -> None:
    if len(body) > MAX_BYTES:
        raise NotAMessage(f"body has {len(body)} bytes")
    try:
        parts = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAMessage("body is not JSON") from None
    if not isinstance(parts, list) or parts[:2] != [[], {}]:
        raise NotAMessage("it has arguments, and our tasks take none")
    embedded = parts[2] if len(parts) == 3 else None
    if not isinstance(embedded, dict) or any(embedded.values()):
        raise NotAMessage("it wants more done than a task")


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise NotAMessage(f"{name} is no object")
    return value


class CheckedTransport:
    """For a transport of kombu whose messages are JSON: what is no message is dropped before it is unpacked."""

    is_delivering = False
    """Whether a message is being handed on, or was when somebody raised an exception."""

    def _deliver(self, message: object, queue: str) -> None:
        try:
            check_frame(message)
        except NotAMessage as why:
            dropped(queue, why)
            return
        self.is_delivering = True
        super()._deliver(message, queue)  # type: ignore[misc]  # a mixin
        self.is_delivering = False
