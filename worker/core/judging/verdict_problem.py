"""Why a reply of a judge has no verdict, before its text is looked at."""

from worker.records import Reply

PROMPT_CUT = "prompt_cut"
"""As the reason of a reply's end: the server answered a part of what it was sent."""
PROMPT_CUT_MEANS = (
    "the server cut the prompt: it counted fewer tokens than the prompt has words; raise its context length "
    "(Ollama: num_ctx), or lower the rubric's input budget"
)
_OF_FINISH = {"refusal": "refusal", "content_filter": "content_filter", "length": "truncated", PROMPT_CUT: PROMPT_CUT}


def reply_problem(reply: Reply) -> str | None:
    """Why a reply has no verdict.

    Returns:
        refusal, content_filter, truncated, prompt_cut or empty_answer; None when it may have one.
    """
    if reply.refusal:
        return "refusal"
    if problem := _OF_FINISH.get(reply.finish_reason or ""):
        return problem
    return None if reply.content and reply.content.strip() else "empty_answer"
