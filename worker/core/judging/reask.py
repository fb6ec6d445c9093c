"""A second try: what is said to a judge whose answer was not the agreed JSON."""

from collections.abc import Sequence

from worker.core.judging.digest import estimate_tokens
from worker.records import Message

SHOWN_BYTES = 4000
"""Of the first answer, in UTF-8; enough to see what is wrong with it, and a bound for what the second call costs."""
REQUEST = (
    "This was not the one JSON object that was asked for. Answer again about the same record: only the object, "
    "no other words, no key left out and none added, each verdict one of those offered."
)
MAX_TOKENS = SHOWN_BYTES // 4 + estimate_tokens(REQUEST)
"""What the texts add to the messages of the first call, at most, by `digest.estimate_tokens`."""


def reask_messages(messages: Sequence[Message], said: str) -> tuple[Message, ...]:
    """The messages of the first call, the start of what came of them, and the request to answer again.

    Example:
        >>> [message.role for message in reask_messages([Message("user", "Was it done?")], "Yes, I think.")]
        ['user', 'assistant', 'user']
    """
    shown = said.encode("utf-8", "replace")[:SHOWN_BYTES].decode("utf-8", "ignore")
    return (*messages, Message("assistant", shown), Message("user", REQUEST))
