r"""The JSON text of a judge's answer, without what servers and models put around it.

What is taken off, in this order: quotes around the whole (JSON that was written as JSON once more), reasoning before
the answer, one label such as `Here is the JSON:`, one Markdown fence, and end tokens. What remains must be one JSON
object and nothing else. An answer is never searched for an object: a judge quotes what an agent wrote, and an agent may
have written a verdict. So words before the object are read only where they are one of a few labels, words behind it
only behind the end of a fence, and never a second object.
"""

import json
import re

_OBJECT = re.compile(r"\[?\s*\{")
_TAG = r"think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad|seed:think"
_THOUGHTS = re.compile(
    rf"<(?P<tag>{_TAG})>.*?</(?P=tag)>|\[think\].*?\[/think\]|◁think▷.*?◁/think▷"
    r"|<\|begin_of_thought\|>.*?<\|end_of_thought\|>",
    re.IGNORECASE | re.DOTALL,
)
_THOUGHTS_END = re.compile(rf"</(?:{_TAG})>|\[/think\]|◁/think▷|<\|end_of_thought\|>", re.IGNORECASE)
"""Chat templates often hold the opening tag themselves, so that an answer has only the closing one."""
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<{]*<\|message\|>|assistantfinal(?=\s*[{`])")
"""Where the answer begins behind gpt-oss's channel of analysis; the second form is what is left without the marks."""
_END_MARK = (
    r"<[|｜][^<>{}|｜\s]{1,40}[|｜]>|</?(?:s|bos|eos|pad|end_of_turn|start_of_turn)>"
    r"|\[(?:DONE|EOS|/?INST)\]"
)
_MARKS_BEFORE = re.compile(rf"(?:\s|(?:{_END_MARK})(?:assistant\b)?)+")
_MARKS_BEHIND = re.compile(rf"(?:\s*(?:{_END_MARK}))+\s*\Z")
_LABEL = re.compile(
    r"(?:[*#_\s]{0,4}(?:(?:sure|okay|ok|certainly)[,.!]?\s+)?(?:here(?:'s| is)\s+)?(?:(?:the|my|your)\s+)?"
    r"(?:final\s+|requested\s+|structured\s+)?"
    r"(?:json(?:\s+(?:object|output|response|answer|verdict))?|verdicts?|answer|evaluation|assessment|output|response|result)"
    r"[*#_ .!]{0,4}[:\n][*#_\s]{0,4})(?=[{`~])",
    re.IGNORECASE,
)
_FENCE = re.compile(r"(`{3,}|~{3,})[^\S\n]*[^\s`~{}]{0,20}[^\S\n]*\n?(?=\s*\{)")
_WRAPPED = re.compile(
    r"<(?P<tag>answer|json|tool_call|output|response|result|verdict|final)>(.*)</(?P=tag)>", re.IGNORECASE | re.DOTALL
)
_MOST_BEHIND = 300
"""Characters that may stand behind the end of a fence: `Let me know if you need more.`"""


def object_text(answer: str) -> str:
    r"""The part of an answer that should be its JSON object.

    Linear in the length of the answer.

    Args:
        answer: As the judge gave it.

    Returns:
        The text without what is known to stand around an object; where nothing is, the answer without white space at
        its ends. Whether it is an object, the caller finds out.

    Example:
        >>> object_text('<think>\nIt was done.\n</think>\n\n```JSON\r\n{"done": 1}\r\n```<|im_end|>')
        '{"done": 1}'
        >>> object_text('The agent wrote: {"done": 1}')
        'The agent wrote: {"done": 1}'
    """
    text = _bare(answer)
    if text.startswith('"') and text.endswith('}"'):
        text = _bare(_unquoted(text))
    if text.startswith("{") and text.endswith("}"):
        return text
    text = _bare(_without_tokens(_behind_thoughts(text)))
    if wrapped := _WRAPPED.fullmatch(text):
        text = _bare(wrapped[2])
    if label := _LABEL.match(text):
        text = text[label.end() :].lstrip()
    return _bare(_without_tokens(_within_fence(text)))


def is_object_text(answer: str) -> bool:
    """Whether an answer begins as an object or a list of some does, whatever stands around it: half one is no prose."""
    return _OBJECT.match(object_text(answer)) is not None


def _unquoted(text: str) -> str:
    """What a JSON text says, where an answer is one as a whole: some servers write their JSON as JSON once more."""
    try:
        said = json.loads(text, strict=False)
    except ValueError:
        return text
    return said if isinstance(said, str) and _bare(said).startswith("{") else text


def _bare(text: str) -> str:
    return text.strip("\ufeff\u200b\u2060 \t\r\n\v\f\u00a0\u2028\u2029")


def _behind_thoughts(text: str) -> str:
    at = 0
    while thoughts := _THOUGHTS.match(text, at):
        at = thoughts.end()
        while at < len(text) and text[at].isspace():
            at += 1
    rest = text[at:]
    if rest.startswith(("{", "`", "~")):
        return rest
    if rest.startswith(("<|", "analysis")) and (final := _last(_FINAL, rest)) is not None:
        return rest[final.end() :]
    # a tag that is quoted within the answer ends nothing: what is behind it is the rest of a JSON string
    end = _last(_THOUGHTS_END, rest)
    if end is None or rest[: end.start()].rstrip().endswith((":", '"', "'", "`", "\u201c")):
        return rest  # quoted: `It ended with: </think>{…}`
    return rest[end.end() :]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _without_tokens(text: str) -> str:
    text = text.strip()
    if before := _MARKS_BEFORE.match(text):
        text = text[before.end() :]
    behind = _MARKS_BEHIND.search(text, max(0, len(text) - 400))
    return text[: behind.start()] if behind else text


def _within_fence(text: str) -> str:
    opened = _FENCE.match(text)
    if opened is None:
        return text
    inner = text[opened.end() :]
    lines = list(
        re.finditer(rf"\n[^\S\n]*{re.escape(opened[1])}[^\S\n]*(?=\n|\Z|<)|{re.escape(opened[1])}\s*\Z", inner)
    )
    if not lines:
        return inner  # a server cut the end of the fence off; a cut object does not parse
    behind = inner[lines[-1].end() :]
    if len(behind) > _MOST_BEHIND or "{" in behind or len(lines) > 1:
        return text
    return inner[: lines[-1].start()]
