"""When a question is asked a second time: the server enforces no form, and the answer is not the agreed JSON."""

from collections.abc import Mapping
from typing import Any

from worker.judge.capabilities import is_whole
from worker.records import Reply


def needs_repair(reply: Reply, schema: Mapping[str, Any]) -> bool:
    """Whether a whole answer to a plain prompt does not satisfy the schema.

    A cut, refused or filtered answer would come back the same.
    """
    from worker.core.judging.answer_json import is_as_agreed  # late: importing it takes time, and few answers need it

    is_plain = reply.judging.params_effective.get("response_format") == "prompt"
    return is_plain and is_whole(reply) and not is_as_agreed(reply.content or "", schema)
