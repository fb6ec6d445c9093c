"""Why an answer ended, in the words of chat.completions, whatever the server calls it."""

import re
from types import MappingProxyType

from worker.judge.wire.protocol import label

_NAMES = MappingProxyType(
    {
        "stop": "stop completed complete finish finished done end end_turn eos eos_token stop_sequence stop_token",
        "length": "length max_tokens max_output_tokens max_length model_length token_limit truncated incomplete"
        " max_new_tokens length_limit context_length model_context_window_exceeded",
        "content_filter": "content_filter content_filtered filtered sensitive safety image_safety recitation language"
        " blocklist prohibited_content spii moderation guardrail_intervened guardrails policy_violation",
        "refusal": "refusal refused",
        "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
        "error": "error failed abort aborted cancelled canceled network_error malformed_function_call"
        " insufficient_system_resource engine_overloaded timeout unexpected_tool_call other",
    }
)
"""Ours, and what OpenAI, Anthropic, Gemini, Mistral, Cohere, Bedrock, DeepSeek, Zhipu, vLLM, SGLang and TGI call it."""
_OURS = MappingProxyType({theirs: ours for ours, names in _NAMES.items() for theirs in names.split()})
_PREFIX = re.compile(r"\A(?:finish_?reason|stop_?reason)[_.]")


def finish_reason(value: object) -> str | None:
    """Why an answer ended.

    Args:
        value: As the answer holds it; may be anything.

    Returns:
        stop, length, content_filter, refusal, tool_calls or error; the server's own word, at most 200 characters, where
        it is none that is known; None where it says nothing.

    Example:
        >>> finish_reason("MAX_TOKENS"), finish_reason("sensitive"), finish_reason("end-turn"), finish_reason(3)
        ('length', 'content_filter', 'stop', None)
    """
    said = label(value)
    if said is None:
        return None
    word = _PREFIX.sub("", said.strip().lower().replace("-", "_").replace(" ", "_"))
    return _OURS.get(word, said)
