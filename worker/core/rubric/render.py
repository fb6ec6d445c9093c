"""Rendering a rubric to messages, with limits on time, memory and size that no template can exceed.

Jinja's sandbox keeps a template from reaching Python, but not from being expensive: `'a' * 200000000`, `9 ** 9 ** 9`
and three nested `range(10**9)` are all legal in it. So, in addition to the reduced language of `core.rubric.sandbox`:

* `*`, `+`, `%` and `**` go through `_Environment.call_binop`, which bounds the size of operands and results;
* `range`, `join` and everything else that can multiply are our own, bounded versions;
* `_RenderLimits` counts loop iterations and the characters of intermediate results and of the output;
* each message is rendered as a stream, and the clock is checked between pieces and in loops.

Every step between two checks of the clock is bounded, so the time limit holds without signals or threads. The clock
only decides whether rendering is stopped; it never changes what is rendered.
"""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import DictLoader, Template, Undefined, nodes, pass_context
from jinja2.exceptions import TemplateError
from jinja2.runtime import Context as TemplateContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.core.rubric.problem import LintFinding, RubricProblem
from worker.core.rubric.sandbox import RUBRIC_FIELDS, SYNTAX, TESTS, role_of
from worker.records import Message

MAX_OUTPUT_CHARS = 400_000
MAX_WORK_CHARS = 4_000_000
"""Characters of all intermediate results of one rendering."""
MAX_TURNS = 20_000
"""Iterations of all loops of one rendering."""
MAX_RENDER_S = 2.0
_BUDGET = "spotcheck budget"
"""A key of the template context that no template can name, since it contains a space."""
FENCE_OPEN, FENCE_CLOSE = "<<<RUN {nonce}>>>", "<<<END RUN {nonce}>>>"

_UNSAFE = re.compile(
    "[<>&\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Characters that are escaped in a document: fence and markup characters, controls, line separators, invisible and
direction-changing characters, lone surrogates. JSON escapes keep the value unchanged."""


class Data(NamedTuple):
    """A run, prepared for a prompt."""

    document: Mapping[str, Any]
    """The digest's document with secrets redacted; the keys are `core.rubric.sandbox.RUN_FIELDS`."""
    nonce: str
    lines: Mapping[str, str] | None = None
    """`document_lines` of the document, where they exist already; None otherwise."""


def nonce(secret: bytes, source: str, run_id: str, revision: int, asks: str) -> str:
    """The word in the fences around run data: unpredictable for an agent, and the same for the same prompt.

    Args:
        secret: The installation's secret, without which the word cannot be computed.
        source: Source of the run.
        run_id: Id of the run.
        revision: Revision of the run.
        asks: A hash of the prompt without the run.

    Returns:
        16 hex digits of an HMAC-SHA256.

    Example:
        >>> nonce(b"secret", "jsonl", "r-1", 1, "ab")
        '22181b6bba5b9b85'
    """
    message = json.dumps(["spotcheck:fence:v1", source, run_id, revision, asks]).encode("ascii")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:16]


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=True, default=str)
"""Kept, because `json.dumps` with options makes a new encoder for each call, at more cost than encoding most values."""


def json_text(value: object) -> str:
    r"""A JSON value on one line, in which no string can look like markup, a fence or a line break.

    Example:
        >>> json_text({"output": "</run>\u2028<<<END"})
        '{"output": "\\u003c/run\\u003e\\u2028\\u003c\\u003c\\u003cEND"}'
    """
    if value is None or type(value) is int:  # most fields, without the encoder
        return "null" if value is None else str(value)
    text = _ENCODER.encode(value)
    if text.isascii() and "<" not in text and ">" not in text and "&" not in text and "\x7f" not in text:
        return text  # these checks cost a tenth of the pattern's search
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    point = ord(match[0])
    if point < 0x10000:
        return f"\\u{point:04x}"
    point -= 0x10000
    return f"\\u{0xD800 + (point >> 10):04x}\\u{0xDC00 + (point & 0x3FF):04x}"


def document_text(document: Mapping[str, Any]) -> str:
    """A run's document as JSON, with one line for each field and each step, for readability.

    Example:
        >>> print(document_text({"status": "completed", "steps": [{"step": 0}, {"step": 1}]}))
        {
        "status": "completed",
        "steps": [
        {"step": 0},
        {"step": 1}
        ]
        }
    """
    return join_document(document_lines(document).values())


def document_lines(document: Mapping[str, Any]) -> dict[str, str]:
    """The JSON text of each field with its name, by field; `join_document` makes one document of them."""
    lines = {}
    for key, value in document.items():
        if isinstance(value, list) and value:
            value_text = "[\n" + ",\n".join(json_text(row) for row in value) + "\n]"
        else:
            value_text = json_text(value)
        lines[key] = f"{_name(key)}: {value_text}"
    return lines


def join_document(lines: Iterable[str]) -> str:
    """One JSON document of texts from `document_lines`."""
    return "{\n" + ",\n".join(lines) + "\n}"


@lru_cache(maxsize=64)
def _name(key: str) -> str:
    return json_text(key)


class _TooMuch(Exception):
    """A template exceeds a limit."""


_TURNS_A_LOOK = 16


class _RenderLimits:
    """The remaining limits of one rendering."""

    def __init__(self, data: Data, clock: Callable[[], float]) -> None:
        self.data, self.clock = data, clock
        self.deadline = clock() + MAX_RENDER_S
        self.turns, self.work = MAX_TURNS, MAX_WORK_CHARS
        self.fenced: tuple[str, ...] | None = None
        """The fields that were rendered between the fences; None before."""

    def check_clock(self) -> None:
        """Stop rendering when the time limit is exceeded."""
        if self.clock() > self.deadline:
            raise _TooMuch(f"rendering takes longer than {MAX_RENDER_S:g} s")

    def count_turn(self) -> None:
        """Count an iteration of a loop; the clock, a system call, is only read every few iterations."""
        self.turns -= 1
        if self.turns < 0:
            raise _TooMuch(f"loops of more than {MAX_TURNS:,} turns")
        if self.turns % _TURNS_A_LOOK == 0:
            self.check_clock()


def _bounded(operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 any value of a template
    """The result of an operator; refused before it is computed when it could be large."""
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if operator == "**":
        if not numbers or abs(left) > 1000 or not 0 <= right <= 6:
            raise _TooMuch("** of numbers over 1,000, or with an exponent over 6")
        return left**right
    if operator == "%":
        if not numbers:
            raise _TooMuch("% of anything but numbers")
        return left % right
    if operator == "*":
        if not numbers or max(abs(left), abs(right)) > 1e9:
            raise _TooMuch("* of anything but numbers up to 1,000,000,000")
        return left * right
    size = sum(len(side) for side in (left, right) if isinstance(side, str | list | tuple))
    if size > 10_000 or (numbers and max(abs(left), abs(right)) > 1e15):
        raise _TooMuch("+ of anything longer than 10,000 characters")
    return left + right


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox with bounded operators, counted loops and a short list of filters."""

    intercepted_binops = frozenset(("*", "+", "%", "**"))

    def __init__(self, includes: Mapping[str, str]) -> None:
        super().__init__(loader=DictLoader(dict(includes)), finalize=_finalize, cache_size=32, **SYNTAX)
        self.globals = {"range": _range}
        self.filters = dict(_FILTERS)
        self.tests = {name: test for name, test in self.tests.items() if name in TESTS}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            counted = nodes.Filter(loop.iter, "counted", [], [], None, None)
            loop.iter = counted.set_lineno(loop.lineno)
        return tree

    def call_binop(self, context: TemplateContext, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 Jinja's
        """Compute an operator within bounds."""
        result = _bounded(operator, left, right)
        _spend(context, result)
        return result


def _spend(context: TemplateContext, result: object) -> None:
    budget: _RenderLimits = context[_BUDGET]
    budget.work -= len(result) if isinstance(result, str | list | tuple) else 1
    if budget.work < 0:
        raise _TooMuch(f"more than {MAX_WORK_CHARS:,} characters of intermediate results")


def _finalize(value: object) -> str:
    """The text of a printed value: strings and numbers only, so that no dict is printed by mistake."""
    if isinstance(value, Undefined):
        return str(value)  # StrictUndefined says which name is not there
    if isinstance(value, str | int | float):
        return str(value)
    raise _TooMuch(f"a {type(value).__name__} cannot be printed; text and numbers can")


def _range(*bounds: int) -> range:
    """`range` of at most `MAX_TURNS` numbers."""
    made = range(*bounds)
    if max(map(abs, bounds)) > 10**9 or len(made) > MAX_TURNS:
        raise _TooMuch(f"range() of more than {MAX_TURNS:,} numbers")
    return made


@pass_context
def _counted(context: TemplateContext, items: Iterable[Any]) -> Iterator[Any]:
    budget: _RenderLimits = context[_BUDGET]
    for item in items:
        budget.count_turn()
        yield item


@pass_context
def _fenced(context: TemplateContext, run: object, *keys: str) -> str:
    """The filter `fenced`: the run, or some of its fields, as one JSON document between fences; once in a prompt."""
    budget: _RenderLimits = context[_BUDGET]
    if run is not budget.data.document or budget.fenced is not None:
        raise _TooMuch("the run may stand once in a prompt, as {{ run | fenced }}")
    budget.fenced = keys
    return fenced_text(budget.data, keys)


def fenced_text(data: Data, keys: Sequence[str]) -> str:
    """The run between its fences: the named fields and `elided`; all fields where none is named."""
    lines = document_lines(data.document) if data.lines is None else data.lines
    shown = [line for key, line in lines.items() if not keys or key in keys or key == "elided"]
    opened, closed = (fence.format(nonce=data.nonce) for fence in (FENCE_OPEN, FENCE_CLOSE))
    return f"{opened}\n{join_document(shown)}\n{closed}"


@pass_context
def _join(context: TemplateContext, items: Iterable[Any], between: str = "") -> str:
    parts: list[str] = []
    for item in items:
        parts.append(_finalize(item))
        _spend(context, parts[-1])
        _spend(context, between)
    return between.join(parts)


def _text(change: Callable[[str], str]) -> Callable[..., str]:
    @pass_context
    def changed(context: TemplateContext, value: object) -> str:
        result = change(_finalize(value))
        _spend(context, result)
        return result

    return changed


def _default(value: object, otherwise: object = "") -> object:
    return otherwise if isinstance(value, Undefined) or value is None else value


_FILTERS: dict[str, Callable[..., Any]] = {
    "counted": _counted,
    "fenced": _fenced,
    "join": _join,
    "length": len,
    "count": len,
    "upper": _text(str.upper),
    "lower": _text(str.lower),
    "trim": _text(str.strip),
    "capitalize": _text(str.capitalize),
    "default": _default,
    "d": _default,
    "first": lambda items: items[0] if items else "",
    "last": lambda items: items[-1] if items else "",
}


class Rendered(NamedTuple):
    """A rendered prompt."""

    messages: tuple[Message, ...]
    size: int
    """Characters, with surrounding white space."""
    keys: tuple[str, ...]
    """The fields of the run in it; empty for all."""


def _is_plain(tree: nodes.Template) -> bool:
    """Whether the run is used in `run | fenced` only."""
    fenced = {id(filter_node.node) for filter_node in tree.find_all(nodes.Filter) if filter_node.name == "fenced"}
    return all(id(name) in fenced for name in tree.find_all(nodes.Name) if name.name == "run")


class RubricTemplate:
    """A compiled rubric body: made once, rendered for each run, in any thread."""

    def __init__(self, body: str, path: str, includes: Mapping[str, str], rubric: Mapping[str, Any]) -> None:
        self.path = path
        self.rubric = {key: rubric[key] for key in RUBRIC_FIELDS}
        environment = _Environment(includes)
        try:
            self.template: Template = environment.from_string(body)
            self.is_plain = all(_is_plain(environment.parse(source)) for source in (body, *includes.values()))
            """Whether prompts differ in the run's document only."""
        except (TemplateError, RecursionError, MemoryError, SyntaxError) as error:
            line = getattr(error, "lineno", None) or 1
            raise RubricProblem(LintFinding(path, line, 1, "syntax", f"cannot be compiled: {error}")) from None

    def render(
        self, data: Data, criteria: Sequence[Mapping[str, Any]], clock: Callable[[], float] = time.thread_time
    ) -> "Rendered":
        """The messages for one run.

        Args:
            data: The run; it is placed where the template has `{{ run | fenced }}`.
            criteria: The criteria asked: dicts of id, question, pass_when, required, weight and levels.
            clock: Returns seconds, for the time limit only. By default the CPU time of this thread, so that a run is
                not left unscored because the machine is busy.

        Returns:
            One message for each chat block that is not empty.

        Raises:
            RubricProblem: The template uses a value that does not exist, or exceeds a limit.
        """
        budget = _RenderLimits(data, clock)
        context = self.template.new_context(
            {"run": data.document, "rubric": self.rubric, "criteria": list(criteria), _BUDGET: budget}
        )
        messages: list[Message] = []
        size = 0
        running: Iterator[str] = iter(())
        try:
            for name, block in self.template.blocks.items():
                pieces: list[str] = []
                running = block(context)
                for piece in running:
                    size += len(piece)
                    if size > MAX_OUTPUT_CHARS:
                        raise _TooMuch(f"more than {MAX_OUTPUT_CHARS:,} characters of output")
                    if len(pieces) % _TURNS_A_LOOK == 0:
                        budget.check_clock()
                    pieces.append(piece)
                if text := "".join(pieces).strip():
                    messages.append(Message(role_of(name), text))  # type: ignore[arg-type]  # ROLES are its values
        except (TemplateError, _TooMuch, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise RubricProblem(self._finding(error, running)) from None
        if budget.fenced is None:
            raise RubricProblem(LintFinding(self.path, 1, 1, "run-data", "the run did not get into the prompt"))
        return Rendered(tuple(messages), size, budget.fenced)

    def _finding(self, error: Exception, running: Iterator[str]) -> LintFinding:
        """The error with the template's line, found by way of the compiled code."""
        path, line, trace = self.path, 1, error.__traceback__
        if (frame := getattr(running, "gi_frame", None)) is not None:
            line = self.template.get_corresponding_lineno(frame.f_lineno)
        while trace is not None:
            template = trace.tb_frame.f_globals.get("__jinja_template__")
            if isinstance(template, Template):
                line = template.get_corresponding_lineno(trace.tb_lineno)
                path = template.name or self.path
            trace = trace.tb_next
        return LintFinding(path, line, 1, "render", f"cannot be rendered: {error}")
