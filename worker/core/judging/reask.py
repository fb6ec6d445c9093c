"""The messages that ask a judge again when its answer was not the agreed JSON."""

from collections.abc import Sequence

from worker.core.judging.digest import estimate_tokens
from worker.records import Message

SHOWN_BYTES = 4000
"""How many UTF-8 bytes of the first answer are repeated; this also bounds the cost of the second call."""
REQUEST = (
    "This was not the one JSON object that was asked for. Answer again about the same record: only the object, "
    "no other words, no key left out and none added, each verdict one of those offered."
)
MAX_TOKENS = SHOWN_BYTES // 4 + estimate_tokens(REQUEST)
"""The most tokens that are added to the first call's messages, by `digest.estimate_tokens`."""


def reask_messages(messages: Sequence[Message], answer: str) -> tuple[Message, ...]:
    """The messages of the first call, the beginning of the answer to them, and the request to answer again.

    Example:
        >>> [message.role for message in reask_messages([Message("user", "Was it done?")], "Yes, I think.")]
        ['user', 'assistant', 'user']
    """
    shown = answer.encode("utf-8", "replace")[:SHOWN_BYTES].decode("utf-8", "ignore")
    return (*messages, Message("assistant", shown), Message("user", REQUEST))
