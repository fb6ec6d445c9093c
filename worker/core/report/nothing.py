"""What is said where there is nothing to show, or not yet: no run in the nights, scores that no figure holds."""

from collections.abc import Sequence

from worker.core.report.formatting import counted
from worker.core.report.model import OutsideName, Sentence

_MOST = 20


def what_there_is(task_type: str | None, found: Sequence[tuple[str, Sequence[str]]]) -> tuple[Sentence, ...]:
    """The sentences about what there is instead.

    Args:
        task_type: The only task type of the report; None for all.
        found: Of each filter that leaves nothing, `task types` or `nights`, and the values that there are.

    Returns:
        None where nothing is known.

    Example:
        >>> found = [("task types", ["faq", "refund"]), ("nights", ["2026-11-02 to 2026-11-08"])]
        >>> ["".join(one) for one in what_there_is("billing", found)]
        ['Task type billing has none: task types here are faq, refund.', 'It has runs from 2026-11-02 to 2026-11-08.']
    """
    said: list[Sentence] = []
    for noun, there in found:
        if noun == "task types" and task_type is not None:
            names = [piece for name in there[:_MOST] for piece in (", ", OutsideName(name))][1:]
            more = f" and {len(there) - _MOST:,} more" if len(there) > _MOST else ""
            rest = (": task types here are ", *names, more) if names else ()
            said.append(("Task type ", OutsideName(task_type), " has none", *rest, "."))
        elif there:
            said.append((f"{'There are' if task_type is None else 'It has'} runs from {there[0]}.",))
    return tuple(said)


def not_summarised(scores: int, nights: int, open_jobs: int) -> str:
    """That scores are in no figure yet, and when they will be; nothing where there are none.

    Args:
        scores: That no summary holds.
        nights: That they are of.
        open_jobs: Of these nights; they are summarised when all are done.

    Example:
        >>> not_summarised(12, 1, 0).partition(':')[0]
        '12 scores of 1 night are not summarised yet, and in no figure here'
        >>> not_summarised(1, 1, 3)
        '1 score of 1 night is not summarised yet, and in no figure here: 3 jobs of it are still open'
        >>> not_summarised(0, 0, 0)
        ''
    """
    if not scores:
        return ""
    verb, of_it = "is" if scores == 1 else "are", "of it" if nights == 1 else "of them"
    said = f"{counted(scores, 'score')} of {counted(nights, 'night')} {verb} not summarised yet, and in no figure here"
    if open_jobs:
        return f"{said}: {counted(open_jobs, 'job')} {of_it} {'is' if open_jobs == 1 else 'are'} still open"
    return f"{said}: running workers do so within a minute, spotcheck score --wait at once"
