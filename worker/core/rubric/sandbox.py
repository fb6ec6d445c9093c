"""The template language of rubrics: a small subset of Jinja2 in a sandbox, checked before anything is rendered.

What an agent wrote is data, never an instruction. Two rules of the language enforce that:

* **Roles are syntax.** `{% chat role="system" %}…{% endchat %}` is parsed into the template's tree, so no rendered text
  can open or close a message.
* **The run has one way into a prompt.** The name `run` may occur in `{{ run | fenced }}` (in a user message) and in the
  condition of an `{% if %}`; anywhere else the template is refused. So nothing of a run can be printed, looped over,
  assigned, passed to another filter or to an include. A condition chooses among the author's texts; it cannot add
  text of the run.

The language has no `set`, `macro`, `import`, `call` or `block`, no method calls, and a short list of filters: what is
not listed in `_NODES` and `FILTERS` is refused with its line. `check_template` finds all of this without rendering.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.core.rubric.problem import LintFinding, RubricProblem

MAX_INCLUDE_DEPTH = 5
MAX_TEMPLATE_CHARS = 200_000
"""Most characters of a template with all its includes, each counted as often as it is included."""
ROLES = ("system", "user", "assistant")
RUN_FIELDS = tuple(
    re.findall(r"\w+", "id task_type agent status stop_reason error input output step_count steps elided")
)
"""The fields of `run` in a template; never tags, user or session, which may hold the outcome or the true label."""
RUBRIC_FIELDS = ("name", "version", "description", "scale", "mode")
FILTERS = ("fenced", "length", "count", "join", "upper", "lower", "trim", "capitalize", "default", "d", "first", "last")
TESTS = (
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "mapping",
    "sequence",
    "true",
    "false",
    "odd",
    "even",
    "in",
)
_NODES: tuple[type[nodes.Node], ...] = tuple(
    getattr(nodes, name)
    for name in re.findall(
        r"\w+",
        "Template Output TemplateData Block If For Include Name Const Getattr Getitem Filter Test Call CondExpr Compare"
        " Operand And Or Not Add Sub Mul Mod Pow Neg List Tuple Keyword",
    )
)


class ChatBlocks(Extension):
    """Jinja extension for `{% chat role="system" %}…{% endchat %}`: one message of the prompt."""

    tags = {"chat"}  # noqa: RUF012 as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse one chat block to a Jinja block whose name has the role, where data cannot change it."""
        line = next(parser.stream).lineno
        keyword = parser.stream.expect("name")
        if keyword.value != "role":
            parser.fail('a chat block is written {% chat role="system" %}', line)
        parser.stream.expect("assign")
        role = parser.stream.expect("string").value
        if role not in ROLES:
            parser.fail(f"{role!r} is not a role; roles are {', '.join(ROLES)}", line)
        body = parser.parse_statements(("name:endchat",), drop_needle=True)
        block = nodes.Block(f"chat_{role}_{parser.free_identifier().name}", body, False, False)
        return block.set_lineno(line)


def role_of(block_name: str) -> str:
    """The role in a chat block's name.

    Example:
        >>> role_of("chat_system_fi1")
        'system'
    """
    return block_name.split("_")[1]


SYNTAX: dict[str, Any] = {"extensions": (ChatBlocks,), "undefined": StrictUndefined, "autoescape": False} | {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "optimized": False,
}
"""Options of the Jinja environment, the same for checking and for rendering."""
_PARSER = ImmutableSandboxedEnvironment(**SYNTAX)


class Use(NamedTuple):
    """One place where a template uses the run."""

    role: str
    path: str
    line: int
    fenced: bool
    """Whether it is `{{ run | fenced }}`, the data itself, and not a condition."""
    text: str


class Checked(NamedTuple):
    """The result of checking a template and its includes."""

    findings: list[LintFinding]
    """Errors: with any of them the template does not load."""
    uses: list[Use]
    includes: tuple[str, ...]
    """Names of all templates included, directly or not, sorted."""
    roles: frozenset[str]
    """Roles of the messages."""
    after_data: bool
    """Whether any text follows the fenced data, in the same message or a later one."""


def check_template(body: str, path: str, includes: Mapping[str, str]) -> Checked:
    """Check a template and everything it includes, without rendering.

    Args:
        body: The template, as `front_matter.split_file` returns it.
        path: Its path, for findings.
        includes: Texts of the files that may be included, by name.
    """
    walk = _Walk(includes)
    try:
        walk.template(body, path, None, ())
    except RecursionError:
        walk.findings.append(LintFinding(path, 1, 1, "syntax", "the template is nested too deeply"))
    data = [use for use in walk.uses if use.fenced]
    if not walk.findings and len(data) != 1:
        path, line = (data[1].path, data[1].line) if data else (path, 1)
        message = (
            "the run may stand once in a prompt"
            if data
            else "the run is nowhere in the prompt: write {{ run | fenced }}"
        )
        walk.findings.append(LintFinding(path, line, 1, "run-data", message))
    return Checked(walk.findings, walk.uses, tuple(sorted(walk.included)), frozenset(walk.roles), walk.after_data)


class _Walk:
    """One walk over the trees of a template and its includes, in reading order."""

    def __init__(self, includes: Mapping[str, str]) -> None:
        self.includes = includes
        self.findings: list[LintFinding] = []
        self.uses: list[Use] = []
        self.included: set[str] = set()
        self.roles: set[str] = set()
        self.after_data = False
        self.chars = 0
        self.source, self.path = "", ""

    def add_finding(self, node: nodes.Node, code: str, message: str, near: str = "") -> None:
        """Add a finding at a node; its column is that of `near` in the node's line."""
        lines = self.source.split("\n")
        text = lines[node.lineno - 1] if 0 < node.lineno <= len(lines) else ""
        column = max(text.find(near) if near else len(text) - len(text.lstrip()), 0) + 1
        self.findings.append(LintFinding(self.path, node.lineno, column, code, message))

    def template(self, source: str, path: str, role: str | None, trail: tuple[str, ...]) -> None:
        """Check one template; `role` is that of the message that includes it, None for the rubric itself."""
        outer = self.source, self.path
        self.source, self.path = source, path
        self.chars += len(source)
        try:
            tree = _PARSER.parse(source)
        except TemplateSyntaxError as error:
            self.findings.append(LintFinding(path, error.lineno, 1, "syntax", str(error.message)))
        else:
            names = frozenset(("run", "rubric", "criteria", "range"))
            for child in tree.body:
                if role is None:
                    self.top(child, names, trail)
                else:
                    self.visit(child, role, names, trail, 0)
        self.source, self.path = outer

    def top(self, node: nodes.Node, names: frozenset[str], trail: tuple[str, ...]) -> None:
        """Check a node outside all messages: only chat blocks and white space are allowed there."""
        if isinstance(node, nodes.Block) and node.name.startswith("chat_"):
            self.roles.add(role_of(node.name))
            for child in node.body:
                self.visit(child, role_of(node.name), names, trail, 0)
        elif isinstance(node, nodes.Output) and all(
            isinstance(part, nodes.TemplateData) and not part.data.strip() for part in node.nodes
        ):
            return
        else:
            self.add_finding(node, "not-allowed", 'text must stand in a message: {% chat role="user" %}…{% endchat %}')

    def visit(self, node: nodes.Node, role: str, names: frozenset[str], trail: tuple[str, ...], loops: int) -> None:
        """Check a node inside a message, and everything below it."""
        if not isinstance(node, _NODES) or isinstance(node, nodes.Block):
            self.add_finding(node, "not-allowed", f"`{type(node).__name__.lower()}` cannot be used in a rubric")
        elif isinstance(node, nodes.TemplateData):
            self.after_data |= bool(node.data.strip()) and any(use.fenced for use in self.uses)
        elif isinstance(node, nodes.Output):
            for part in node.nodes:
                if not self.data(part, role):
                    self.visit(part, role, names, trail, loops)
        elif isinstance(node, nodes.If):
            self.expression(node.test, role, names, in_condition=True)
            for child in (*node.body, *node.elif_, *node.else_):
                self.visit(child, role, names, trail, loops)
        elif isinstance(node, nodes.For):
            self.loop(node, role, names, trail, loops)
        elif isinstance(node, nodes.Include):
            self.include(node, role, trail, loops)
        else:
            self.expression(node, role, names)

    def data(self, node: nodes.Node, role: str) -> bool:
        """Check a printed expression for `run | fenced`; returns whether it is one."""
        if not (isinstance(node, nodes.Filter) and node.name == "fenced"):
            return False
        keys = [arg.value if isinstance(arg, nodes.Const) else None for arg in node.args]
        if not (isinstance(node.node, nodes.Name) and node.node.name == "run") or node.kwargs or node.dyn_args:
            self.add_finding(
                node, "unsafe-run-data", 'write {{ run | fenced }}, or {{ run | fenced("input", "output") }} for a part'
            )
        elif role != "user":
            self.add_finding(
                node, "unsafe-run-data", f"run data in a {role} message; it may stand in a user message only", "run"
            )
        elif unknown := [key for key in keys if key not in RUN_FIELDS]:
            self.unknown_field(node, str(unknown[0]))
        self.uses.append(Use(role, self.path, node.lineno, True, "run"))
        return True

    def unknown_field(self, node: nodes.Node, field: str) -> None:
        """Add a finding for an unknown field of the run, with the nearest known one."""
        near = difflib.get_close_matches(field, RUN_FIELDS, n=1, cutoff=0.5)
        tail = [field_name for field_name in RUN_FIELDS if field_name in field]
        hint = f"; did you mean run.{(tail or near)[0]}?" if tail or near else f"; known: {', '.join(RUN_FIELDS)}"
        self.add_finding(node, "unknown-variable", f"run.{field} does not exist{hint}", field)

    def loop(self, node: nodes.For, role: str, names: frozenset[str], trail: tuple[str, ...], loops: int) -> None:
        """Check a `{% for %}`: at most three deep, and not over the run."""
        if loops >= 3 or node.recursive:
            self.add_finding(node, "not-allowed", "loops may be nested three deep, and not be recursive")
            return
        self.expression(node.iter, role, names)
        bound = {name.name for name in node.target.find_all(nodes.Name)}
        if isinstance(node.target, nodes.Name):
            bound.add(node.target.name)
        if taken := bound & {"run", "rubric", "criteria", "range", "loop"}:
            self.add_finding(node, "not-allowed", f"a loop cannot rename {sorted(taken)[0]!r}")
        inner = names | bound | {"loop"}
        if node.test is not None:
            self.expression(node.test, role, inner)
        for child in (*node.body, *node.else_):
            self.visit(child, role, inner, trail, loops + 1)

    def include(self, node: nodes.Include, role: str, trail: tuple[str, ...], loops: int) -> None:
        """Check an `{% include "name" %}`: a fixed name in the prompts folder, without cycles, not inside a loop."""
        name = node.template.value if isinstance(node.template, nodes.Const) else None
        if not isinstance(name, str) or node.ignore_missing:
            self.add_finding(
                node, "not-allowed", 'an include names one file in quotes: {% include "_shared/evidence.md.j2" %}'
            )
        elif loops:
            self.add_finding(node, "not-allowed", "an include cannot stand in a loop")
        elif name in trail:
            self.add_finding(node, "not-allowed", f"{name!r} includes itself: {' → '.join((*trail, name))}")
        elif name not in self.includes:
            near = difflib.get_close_matches(name, self.includes, n=1)
            self.add_finding(
                node,
                "unknown-include",
                f"{name!r} is not in the prompts folder" + (f"; did you mean {near[0]!r}?" if near else ""),
            )
        elif len(trail) >= MAX_INCLUDE_DEPTH or self.chars + len(self.includes[name]) > MAX_TEMPLATE_CHARS:
            self.add_finding(
                node,
                "not-allowed",
                f"includes may be {MAX_INCLUDE_DEPTH} deep and {MAX_TEMPLATE_CHARS:,} characters in all",
            )
        else:
            self.included.add(name)
            self.template(self.includes[name], name, role, (*trail, name))

    def expression(self, node: nodes.Node, role: str, names: frozenset[str], *, in_condition: bool = False) -> None:
        """Check an expression: known names, listed filters, and the run in conditions only."""
        for name, place in _run_paths(node):
            field = name.partition(".")[2]
            self.uses.append(Use(role, self.path, place.lineno, False, name))
            if field and field not in RUN_FIELDS:
                self.unknown_field(place, field)
            elif not in_condition:
                safe = f'{{{{ run | fenced }}}} or {{{{ run | fenced("{field or "output"}") }}}}'
                message = f"run data must go through the safe filter: {safe}"
                self.add_finding(place, "unsafe-run-data", message, name)
        for part in _with_self(node):
            if not isinstance(part, _NODES):
                self.add_finding(part, "not-allowed", f"`{type(part).__name__.lower()}` cannot be used in a rubric")
            elif isinstance(part, nodes.Name):
                self.name(part, names)
            elif isinstance(part, nodes.Filter) and (part.name not in FILTERS or part.name == "fenced"):
                hint = (
                    "stands alone: {{ run | fenced }}"
                    if part.name == "fenced"
                    else f"is not one of {', '.join(FILTERS)}"
                )
                self.add_finding(part, "not-allowed", f"filter `{part.name}` {hint}")
            elif isinstance(part, nodes.Test) and part.name not in TESTS:
                self.add_finding(part, "not-allowed", f"test `{part.name}` is not one of {', '.join(TESTS)}")
            elif isinstance(part, nodes.Call) and not (isinstance(part.node, nodes.Name) and part.node.name == "range"):
                self.add_finding(part, "not-allowed", "only range() can be called")
            elif isinstance(part, nodes.List | nodes.Tuple) and len(part.items) > 64:
                self.add_finding(part, "not-allowed", "a list may have 64 entries")
            elif isinstance(part, nodes.Getattr) and part.attr.startswith("_"):
                self.add_finding(part, "not-allowed", f"`{part.attr}` cannot be reached")

    def name(self, node: nodes.Name, names: frozenset[str]) -> None:
        """Check that a variable exists; uses of the run are checked elsewhere."""
        if node.name not in names:
            near = difflib.get_close_matches(node.name, sorted(names), n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(names))}"
            self.add_finding(node, "unknown-variable", f"{node.name} does not exist{hint}", node.name)


def _with_self(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _with_self(child)


def _run_paths(node: nodes.Node) -> Iterator[tuple[str, nodes.Node]]:
    """Every use of the run below a node, as `run` or `run.field`."""
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "run":
        yield f"run.{node.attr}", node
    elif isinstance(node, nodes.Getitem) and isinstance(node.node, nodes.Name) and node.node.name == "run":
        field = node.arg.value if isinstance(node.arg, nodes.Const) else "?"
        yield f"run.{field}", node
    elif isinstance(node, nodes.Name) and node.name == "run":
        yield "run", node
    else:
        for child in node.iter_child_nodes():
            yield from _run_paths(child)


def raise_first(checked: Checked) -> None:
    """Raise the first finding of a checked template; does nothing without findings.

    Raises:
        RubricProblem: There is a finding.
    """
    if checked.findings:
        raise RubricProblem(checked.findings[0], len(checked.findings) - 1)
