"""A hash of the code of a custom scorer that declares no version."""

import ast
import hashlib
import inspect
import sys
from types import ModuleType
from typing import Any

from worker.errors import SettingsError

_sources: dict[int, tuple[ModuleType, str | None]] = {}
"""Text of each module as it was when its first scorer was loaded: the file may change while the old code runs."""


def code_hash(target: Any, module: ModuleType, path: str) -> str:  # noqa: ANN401 whatever a setting points to
    """First 16 hex of a SHA-256 over the source of a function or class and of what it uses in its own module.

    Comments and layout count, other definitions of the module do not, and neither does code of other modules: a scorer
    that relies on some should declare a version.

    Args:
        target: The function, class or instance.
        module: The module that the setting names.
        path: Its place in there.

    Raises:
        SettingsError: There is no source; the message asks for a version.
    """
    own = inspect.unwrap(target) if callable(target) else target
    kind = own if inspect.isroutine(own) or inspect.isclass(own) else type(own)
    names = [path.partition(".")[0], str(getattr(kind, "__qualname__", "")).partition(".")[0]]
    texts = []
    elsewhere = str(getattr(kind, "__module__", ""))
    if elsewhere.partition(".")[0] in sys.stdlib_module_names:  # of another text in each release of Python
        elsewhere = module.__name__
    for home in dict.fromkeys((module, sys.modules.get(elsewhere, module))):
        text = _source_of(home)
        if text is not None:
            texts.append(_used(text, names))
    if not any(texts):
        raise SettingsError(
            f'no source can be read to tell versions apart; set {path}.version = "1" in {module.__name__}'
        )
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _source_of(module: ModuleType) -> str | None:
    if id(module) not in _sources:
        try:
            text = inspect.getsource(module)
        except (OSError, TypeError):
            text = None
        _sources[id(module)] = (module, text)  # the module is kept, so that its id stays its own
    return _sources[id(module)][1]


def _used(text: str, names: list[str]) -> str:
    """The statements of a module that define these names and, in turn, every name that they mention."""
    lines = text.split("\n")  # as ast counts them: a form feed or U+2028 begins no line
    statements: dict[str, list[ast.stmt]] = {}
    for statement in ast.parse(text).body:
        for name in _defined(statement):
            statements.setdefault(name, []).append(statement)
    pending, seen = list(names), set(names)
    chosen: dict[int, str] = {}
    while pending:
        for statement in statements.get(pending.pop(), ()):
            first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", ()))])
            chosen[first] = "\n".join(lines[first - 1 : statement.end_lineno])
            mentioned = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)} - seen
            seen |= mentioned
            pending += sorted(mentioned)
    return "\n".join(chosen[line] for line in sorted(chosen))


def _defined(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement gives a meaning: those it defines, imports or assigns, also inside an `if`."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute | ast.Subscript)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
        ):
            names.add(node.value.id)  # `f.version = …`, `TABLE["x"] = …`
    return names
