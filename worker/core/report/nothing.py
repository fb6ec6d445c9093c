"""What a report says where no run ended in its nights."""

from collections.abc import Sequence

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
