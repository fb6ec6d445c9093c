"""Rendering a rubric's prompt for many runs; the part that is the same for all is rendered once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worker.core.rubric.render import FENCE_CLOSE, FENCE_OPEN, MAX_OUTPUT_CHARS, Data, RubricTemplate, fenced_text
from worker.records import Message


class _Around(NamedTuple):
    """A rendered prompt without the run."""

    messages: tuple[Message, ...]
    at: int
    """Index of the message in which the run stands."""
    before: str
    after: str
    size: int
    """Characters of all messages without the run."""
    keys: tuple[str, ...]


class Prompt:
    """Renders the prompt of one call for many runs.

    Where a template uses nothing of the run but its fenced document, prompts differ in the document only. Then the
    template is rendered for the first run only, which is ten times cheaper; the messages are the same either way.
    """

    def __init__(self, template: RubricTemplate, criteria: Sequence[Mapping[str, Any]]) -> None:
        """Keep the template; nothing is rendered yet.

        Args:
            template: The rubric's compiled template.
            criteria: The criteria of this call, as `RubricTemplate.render` takes them.
        """
        self._template, self._criteria = template, criteria
        self._around: _Around | None = None

    def render(self, data: Data) -> tuple[Message, ...]:
        """The messages for one run.

        Raises:
            RubricProblem: As `RubricTemplate.render`.
        """
        around = self._around
        if around is not None:
            run = fenced_text(data, around.keys)
            if around.size + len(run) <= MAX_OUTPUT_CHARS:
                message = around.messages[around.at]
                made = Message(message.role, f"{around.before}{run}{around.after}")
                return (*around.messages[: around.at], made, *around.messages[around.at + 1 :])
        rendered = self._template.render(data, self._criteria)
        if around is None and self._template.is_plain:
            opened, closed = (fence.format(nonce=data.nonce) for fence in (FENCE_OPEN, FENCE_CLOSE))
            at = next(index for index, message in enumerate(rendered.messages) if opened in message.content)
            before, _, rest = rendered.messages[at].content.partition(opened)
            inside, _, after = rest.partition(closed)
            size = rendered.size - len(opened) - len(inside) - len(closed)
            self._around = _Around(rendered.messages, at, before, after, size, rendered.keys)
        return rendered.messages
