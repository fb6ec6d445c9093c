"""The most tokens that one score can use: what a budget reserves before a question is asked."""

from collections.abc import Sequence

from worker.core.judging.digest import estimate_tokens
from worker.core.judging.reask import MAX_TOKENS as REASK_TOKENS
from worker.records import Message
from worker.scorers.protocol import MostTokens
from worker.scorers.rubric.questions import Prepared, QuestionBuilder

SAFETY = 1.5
"""Real tokens of a text at most, as a multiple of the estimate (see `core.judging.digest`)."""
MESSAGE_TOKENS = 12
"""What a message costs beside its text."""


def max_tokens(builder: QuestionBuilder) -> tuple[MostTokens, ...]:
    """The most a score can use, by model, each sample and a second judge included; empty without a judge.

    Twice `max_input_tokens` where an answer may be asked for again; so only those reserve money for it who allow it.
    """
    options, judge = builder.options, builder.rubric.judge
    if options.model is None:
        return ()
    calls, samples = len(builder.calls), judge.samples
    tokens_in, tokens_out = max_input_tokens(builder), judge.max_output_tokens * calls
    if options.repair:
        added = SAFETY * calls * (REASK_TOKENS + 2 * MESSAGE_TOKENS)
        tokens_in, tokens_out = 2 * tokens_in + int(added) + 1, 2 * tokens_out
    first = MostTokens(options.model, calls * samples, tokens_in * samples, tokens_out * samples)
    if options.escalate is None:
        return (first,)
    return (first, MostTokens(str(options.escalate.to), calls, tokens_in, tokens_out))


def max_input_tokens(builder: QuestionBuilder) -> int:
    """The most that the calls of one sample read: 1.5 times the estimate of the longest prompt allowed."""
    rubric = builder.rubric
    optional = estimate_tokens(rubric.source + "".join(rubric.includes.values()))  # what an {% if %} may add
    per_call = [
        _size(messages) + schema + rubric.trace.budget_tokens + optional
        for messages, schema in zip(builder.static, builder.schema_tokens, strict=True)
    ]
    return int(SAFETY * sum(per_call)) + 1


def input_tokens(builder: QuestionBuilder, prepared: Prepared) -> float:
    """The most that the questions of one sample about this run read; the other samples ask the same."""
    pairs = zip(prepared.questions, builder.schema_tokens, strict=False)
    return SAFETY * sum(_size(question.messages) + schema for question, schema in pairs)


def _size(messages: Sequence[Message]) -> int:
    """Estimated input tokens of a call's messages."""
    return sum(estimate_tokens(message.content) + MESSAGE_TOKENS for message in messages)
