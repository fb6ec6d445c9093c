"""Rules that recognise, without a judge, an output that is no answer: empty, only an opener, or an echo of the task."""

import re
import unicodedata

PRECHECK_VERSION = "1"
"""Part of the fingerprint of whoever applies these rules, where it is not the first. Raise it with every change of what
is recognised; `tests/scorers/test_rules_of_measuring.py` holds each version's results."""

_SHORT = 200
"""Only texts up to this length are tested for openers and control words; longer ones have content."""

_ECHO_MIN = 16
"""Least letters and digits of an echo: a short text like `Good morning` may be answered with itself."""

_ECHO_CUT_MIN = 40
_ECHO_CUT_SHARE = 0.9
"""A repetition of the task that breaks off in its last tenth is an echo too."""

_START = 200
"""Characters of the beginnings that are compared first, for speed."""

_CHAT_WORDS = 8
"""Requests with fewer words may be greetings, for which an offer of help is an answer."""

_INVISIBLE = "\u115f\u1160\u2800\u3164\uffa0"
"""Characters that show as blank although Unicode classes them as letters or symbols."""

_MARKUP = "`~^|"
"""Symbols that are punctuation in Markdown; other symbols (`∞`, `<`, an emoji) may be an answer."""

_THOUGHT_OPEN = re.compile(r"\s*<(think|thinking|thought|thoughts|reasoning)>", re.IGNORECASE)

_CONTROL = re.compile(
    r"""(?: terminate
          | [#<\[|/]{1,6} \s? (?: stop | end | done | finish(?:ed)? | exit | terminate | transfer | s | eos | eot
                                | eot_id | endoftext | im_end | im_start | end_turn | no_reply | object\ object )
            \s? [#>\]|]{1,6}
        )""",
    re.IGNORECASE | re.VERBOSE,
)

_GENERIC = (
    r"(?:about|above|again|an?|analysis|and|answer|approach|are|as|at|below|breakdown|by|can|carefully|code|complete|"
    r"correct|deeply|detail|details|do|down|final|first|following|for|full|help|how|i|in|information|into|is|issue|it|"
    r"list|look|me|moment|more|my|need|needed|now|of|on|one|out|problem|process|question|quick|request|requested|"
    r"required|response|result|results|second|should|solution|solve|step|steps|step-by-step|summary|task|that|the|"
    r"then|there|things|this|through|to|together|up|updated|we|what|will|with|would|you|you've|your)"
)
"""Words without content: a sentence made of an opener and only these has none."""

_LEADS = (
    re.compile(
        r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|all right|great|got it|understood|yes|"
        r"so|thus|therefore|hence|first|firstly|now)\b"
    ),
)
"""Words that may precede an opener, and may be a whole answer: `Yes.` to a question, `OK.` to a command."""

_OPENERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:great|good|interesting|excellent) question\b",
        r"(?:(?:my|the|your|final|detailed|full|complete|correct) ){0,2}"
        r"(?:thought process|thoughts?|thinking|reasoning|chain of thought|solution|answer|explanation|response|"
        r"analysis)"
        r"(?: (?:is|would be|to (?:this|the|your) (?:question|problem|task)(?: is)?))?(?: as follows)?\b",
        r"(?:to begin|to start|step (?:1|one))\b",
        r"(?:let me|let's|let us|i'll|i will|i'm going to|i am going to|i need to|i should|we need to|we will|we'll|"
        r"we should|to) "
        r"(?:think|check|look|see|solve|start|begin|work|break|go|find|search|analy[sz]e|consider|take|do|help|get|"
        r"review|verify|calculate|examine|explain|answer|approach|reason|figure|tackle|address)\b"
        rf"(?: {_GENERIC}\b){{0,12}}",
        r"(?:here's|here is|here are|here you go|below is|below are|the following is|the following are)\b"
        rf"(?: {_GENERIC}\b){{0,12}}",
        r"(?:one moment|just a moment|please wait|hold on|working on it|give me a (?:moment|second)|processing|loading|"
        r"searching)(?: please)?\b",
        r"(?:assistant|ai|user|human|final)(?=\s?:)",
        r"(?:解答|解説|解|答案|答|かいせつ|思考过程|respuesta|solución|réponse|antwort|lösung|risposta|resposta)(?!\w)",
    )
)
"""Openers: beginnings without content.

Source: Zhao et al. 2025, "One token to fool LLM-as-a-judge" (the "master keys" that earn false passes).
"""

_OFFERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:hi|hello|hey|greetings|welcome)(?: there)?\b",
        r"(?:how|what) (?:can|may) i (?:help|assist|do for) (?:you)?(?: with)?(?: today)?\b",
        r"i(?:'d| would|'m| am| can|'ll| will)(?: be)?(?: happy| glad| here)?(?: to)? (?:help|assist)(?: you)?"
        r"(?: with)?(?: that| this| your request)?(?: today)?\b",
    )
)
"""Greetings and offers of help: an answer to a greeting, none to a request."""

_BETWEEN = re.compile(r"[\s.,:;!?…*#_`>\"'()\[\]–—-]*")
_LABEL = re.compile(r"\s*(?:task|question|input|user|human|query|prompt|problem|request|you asked)\s?:", re.IGNORECASE)


def answer_problem(input: str | None, output: str | None) -> str | None:
    """Why a final output cannot be an answer to its task, decided by rules.

    The rules are few and narrow, since a run they match fails without a judge. They know English openers and a few of
    other languages. They are wrong for agents that return their input (a formatter, a proofreader).

    Args:
        input: The task; None or empty skips the test for an echo.
        output: The final output; None counts as empty.

    Returns:
        `empty`, `punctuation only`, `reasoning only`, `control word only`, `opener only` or `echo of the task`;
        None when there is something to judge. Linear in the length of both.

    Example:
        >>> answer_problem("What is the capital of France?", "Let me think about this step by step:")
        'opener only'
        >>> answer_problem("What is the capital of France?", "Paris") is None
        True

    Source: JUDGE §5.
    """
    whole = output or ""
    if problem := _blank(whole):
        return problem
    text = whole[_after_thoughts(whole) :].strip()
    if _blank(text):
        return "reasoning only"
    if len(text) <= _SHORT:
        if _consists_of(text, (_CONTROL,)):
            return "control word only"
        if _is_opener(input or "", text):
            return "opener only"
    return "echo of the task" if input and _is_echo(input, text) else None


def _blank(text: str) -> str | None:
    """`empty` or `punctuation only` for a text without content; None otherwise. `[]` and `{}` count as content."""
    if _says_something(text):
        return None
    visible = "".join(c for c in text if unicodedata.category(c)[0] not in "ZCM" and c not in _INVISIBLE)
    if visible in ("[]", "{}"):
        return None
    return "punctuation only" if visible else "empty"


def _says_something(text: str) -> bool:
    return any(unicodedata.category(c)[0] in "LNS" and c not in _INVISIBLE and c not in _MARKUP for c in text)


def _after_thoughts(text: str) -> int:
    """The index after the leading reasoning blocks; the text's length when a block is not closed."""
    at = 0
    while opened := _THOUGHT_OPEN.match(text, at):
        closed = re.compile(rf"</{opened[1]}>", re.IGNORECASE).search(text, opened.end())
        if closed is None:
            return len(text)
        at = closed.end()
    return at


def _consists_of(text: str, patterns: tuple[re.Pattern[str], ...]) -> bool:
    """Whether the text consists of matches of the patterns (at least one), separated by punctuation only."""
    at, has_match = 0, False
    while at < len(text):
        if (longest := max((m.end() for p in patterns if (m := p.match(text, at))), default=at)) > at:
            at, has_match = longest, True
        elif (longest := _skip(text, at)) > at:
            at = longest
        else:
            return False
    return has_match


def _skip(text: str, at: int) -> int:
    skipped = _BETWEEN.match(text, at)
    return skipped.end() if skipped else at


def _is_opener(task: str, text: str) -> bool:
    folded = re.sub(r"\s+", " ", text.casefold().replace("’", "'")).strip()
    offers = _OFFERS if len(task.split(maxsplit=_CHAT_WORDS)) >= _CHAT_WORDS else ()
    return _consists_of(folded, _LEADS + _OPENERS + offers) and not _consists_of(folded, _LEADS)


def _is_echo(task: str, text: str) -> bool:
    if len(text) > 2 * len(task) + _SHORT:
        return False
    labelled = _LABEL.match(text)
    text = text[labelled.end() :] if labelled else text
    starts = [_fold(side[:_START]) for side in (task, text)]
    if min(map(len, starts)) >= 2 * _ECHO_MIN and starts[0][:_ECHO_MIN] != starts[1][:_ECHO_MIN]:
        return False  # true for nearly all answers, and costs a tenth of the whole comparison
    folded_task = _fold(task)
    if len(folded_task) < _ECHO_MIN:
        return False
    folded_answer = _fold(text)
    is_cut = len(folded_answer) >= max(_ECHO_CUT_MIN, _ECHO_CUT_SHARE * len(folded_task)) and folded_task.startswith(
        folded_answer
    )
    return folded_answer == folded_task or is_cut


_MARKS = re.compile(r"[\W_]+")
"""Everything that `str.isalnum` refuses."""


def _fold(text: str) -> str:
    """Letters and digits only, with case and width removed."""
    kept = _MARKS.sub(
        "", text
    )  # combining marks are removed first: normalising long sequences of them takes quadratic time
    return _MARKS.sub("", unicodedata.normalize("NFKC", kept).casefold())
