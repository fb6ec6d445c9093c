"""Whether a server cut the prompt: it counts fewer tokens than the prompt has words.

Ollama and some others shorten what does not fit their window and answer what is left, with a 200; only the count tells.
A verdict on half a run is a verdict on something else than was asked.
"""

import re
from collections.abc import Sequence

from worker.core.judging.verdict_problem import PROMPT_CUT
from worker.records import Message, Reply

_LEAST_WORDS = 500
_SHARE = 0.75
"""Every tokenizer in use begins anew at each run of letters and of digits, so a prompt has at least as many tokens as
such runs, but for `don't` and the like. English prose has 1.2 tokens a run, code and JSON 1.5 and more."""
_LEAST_TOKENS = 200
"""Fewer are no window of any server, but a count that means something else."""
_RUN = re.compile(r"[^\W\d_]+|\d+")


def least_tokens(messages: Sequence[Message]) -> int:
    """Tokens that a prompt has at least, by any tokenizer: its runs of letters and of digits.

    Scripts without spaces have few; of them nothing is said.
    """
    return sum(len(_RUN.findall(message.content)) for message in messages)


def without_cut(reply: Reply, messages: Sequence[Message]) -> Reply:
    """The reply, marked where it answers a prompt that was cut.

    Args:
        reply: As it was read; one that counts no tokens is left as it is. Cached tokens count where a server counts
            them apart.
        messages: What was sent.
    """
    counted = (reply.judging.input_tokens or 0) + (reply.judging.cached_tokens or 0)
    if counted < _LEAST_TOKENS or 4 * counted >= sum(len(message.content) for message in messages):
        return reply  # nothing is missing at four characters a token, and words need not be counted
    least = least_tokens(messages)
    if least < _LEAST_WORDS or counted >= _SHARE * least:
        return reply
    return reply.model_copy(update={"finish_reason": PROMPT_CUT})
