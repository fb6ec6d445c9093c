"""Parsing and validating the YAML front matter of a rubric, with line and column of each fault."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from worker.core.rubric.problem import LintFinding, RubricProblem
from worker.core.rubric.schema import MAX_RUBRIC_CHARS, FrontMatter

_MARKERS = re.compile(r"^---[ \t]*$", re.MULTILINE)

_MAPPING, _LIST = "must be a mapping of keys to values", "must be a list"
_REQUIREMENTS = {
    "literal_error": "must be {expected}",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "may have at most {max_length:,} characters",
    "too_short": "must have at least {min_length}",
    "too_long": "may have at most {max_length} entries",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "mapping_type"), _MAPPING),
    **dict.fromkeys(("tuple_type", "list_type"), _LIST),
}
"""By pydantic's error type: the requirement, without a validation library's terms."""
_ID_RULE = (
    "must begin with a lower-case letter; then come lower-case letters, digits or _, at most 40 characters in all"
)
_NAME_RULES = {
    "name": "must begin with a lower-case letter; then come lower-case letters, digits, _ or -, at most 60 in all",
    "id": _ID_RULE,
    "label": _ID_RULE,
    "version": "must be three numbers such as 1.0.0, or 1.0.0-rc1",
}
"""By key: the requirement of its pattern."""


class _Loader(yaml.SafeLoader):
    """YAML without aliases and doubled keys, in which `on`, `off`, `yes` and `no` are plain strings."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None,
                None,
                "aliases (`*name`) are not allowed",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # untyped in types-PyYAML
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in keys:
                    raise yaml.composer.ComposerError(None, None, f"{key.value!r} stands twice", key.start_mark)
                keys.add(str(key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge")
    ]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false|True|False)$"), list("tTfF"))


def canonical(text: str) -> str:
    r"""The canonical text that is hashed and rendered: no BOM, `\n` only, no trailing blanks, one newline at the end.

    Example:
        >>> canonical("a  \r\nb\n\n")
        'a\nb\n'
    """
    folded = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in folded.split("\n")).rstrip("\n") + "\n"


def split_file(text: str, path: str) -> tuple[str, str]:
    """Front matter and body of a canonical rubric file; the body is padded with empty lines to keep its line numbers.

    Raises:
        RubricProblem: Too large, or no front matter.
    """
    if len(text) > MAX_RUBRIC_CHARS:
        message = f"the file has {len(text):,} characters; a rubric may have {MAX_RUBRIC_CHARS:,}"
        raise RubricProblem(LintFinding(path, 1, 1, "schema", message))
    fences = list(_MARKERS.finditer(text))
    if len(fences) < 2 or fences[0].start() != 0:
        raise RubricProblem(
            LintFinding(path, 1, 1, "schema", "the file must begin with front matter between two lines of `---`")
        )
    body_at = fences[1].end()
    return text[fences[0].end() : fences[1].start()], "\n" * text.count("\n", 0, body_at) + text[body_at:]


def check_front(front: str, path: str) -> tuple[FrontMatter | None, list[LintFinding]]:
    """Validate front matter as `split_file` returns it.

    Returns:
        The front matter (None when it is not valid), and all findings, in the order of the file.
    """
    try:
        loader = _Loader(front)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return None, [
            LintFinding(path, line, column, "schema", f"not YAML: {getattr(error, 'problem', None) or error}")
        ]
    except (ValueError, RecursionError) as error:
        return None, [LintFinding(path, 1, 1, "schema", f"not YAML: {error}")]
    if not isinstance(data, dict):
        return None, [LintFinding(path, 1, 1, "schema", "the front matter must be a mapping of keys to values")]
    try:
        return FrontMatter.model_validate(data), []
    except ValidationError as error:
        findings = [_finding(path, root, list(problem["loc"]), problem) for problem in _telling(error)]
        return None, sorted(findings, key=lambda finding: (finding.line, finding.column))


def _telling(error: ValidationError) -> Iterator[Mapping[str, Any]]:
    """The validation errors to report, without those that only follow from another one."""
    problems = error.errors()
    places = [problem["loc"] for problem in problems]
    wrong_keys = [str(problem["loc"][-1]) for problem in problems if problem["type"] == "extra_forbidden"]
    for problem in problems:
        loc = problem["loc"]
        follows = loc and any(len(place) > len(loc) and place[: len(loc)] == loc for place in places)
        mistyped = problem["type"] == "missing" and difflib.get_close_matches(str(loc[-1]), wrong_keys, n=1)
        if not follows and not mistyped:
            yield cast("Mapping[str, Any]", problem)


def _finding(path: str, root: yaml.Node | None, loc: list[int | str], problem: Mapping[str, Any]) -> LintFinding:
    message = str(problem["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in loc)
    code = "schema"
    if "stands twice" in message:
        code = "duplicate-criterion"
    if "`levels`" in message:
        code = "missing-anchors"
    if not loc:  # a validator of the whole front matter: point at the criterion it names
        line, column = _criterion_place(root, message)
        return LintFinding(path, line, column, code, message)
    if problem["type"] == "extra_forbidden":
        known_keys = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known_keys, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known_keys)}"
        message = f"`{where}` is not a key of a rubric{hint}"
    elif problem["type"] == "missing":
        message = f"`{where}` is missing"
    else:
        message = f"`{where}`: {_requirement(problem, loc, message)}"
    line, column = _place(root, loc)
    return LintFinding(path, line, column, code, message)


def _requirement(problem: Mapping[str, Any], loc: Sequence[int | str], message: str) -> str:
    """What a value must be, in a rubric author's words, and what was found in its place."""
    kind, limits, value = str(problem["type"]), dict(problem.get("ctx") or {}), problem.get("input")
    is_name = kind == "string_pattern_mismatch"
    requirement = _NAME_RULES.get(str(loc[-1])) if is_name else _REQUIREMENTS.get(kind)
    if requirement is None:
        return f"{message[:1].lower()}{message[1:]}; found {value!r:.80}"
    found = f"{len(value)} entries" if kind in ("too_long", "too_short") and value is not None else f"{value!r:.80}"
    return f"{requirement.format(**limits)}; found {found}"


def _place(root: yaml.Node | None, loc: Sequence[int | str]) -> tuple[int, int]:
    """Line and column of the deepest existing node of `loc`; of a mapping's entry, those of its key."""
    node, place = root, (1, 1)
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None:
                break
            place, node = (entry[0].start_mark.line + 1, entry[0].start_mark.column + 1), entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            place = (node.start_mark.line + 1, node.start_mark.column + 1)
        else:
            break
    return place


def criterion_place(front: str, criterion_id: str, key: str = "question") -> tuple[int, int]:
    """Line and column of a key of a criterion in valid front matter; (1, 1) when it is absent."""
    root = yaml.compose(front, Loader=_Loader)
    for place, id_there in enumerate(_criterion_ids(root)):
        if id_there == criterion_id:
            return _place(root, ["criteria", place, key])
    return 1, 1


def _criterion_ids(root: yaml.Node | None) -> Iterator[str]:
    entries = root.value if isinstance(root, yaml.MappingNode) else []
    criteria = next((value for key, value in entries if key.value == "criteria"), None)
    for node in criteria.value if isinstance(criteria, yaml.SequenceNode) else []:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        yield next((str(value.value) for key, value in pairs if key.value == "id"), "")


def _criterion_place(root: yaml.Node | None, message: str) -> tuple[int, int]:
    named = re.search(r"criterion '([^']*)'", message)
    ids = list(_criterion_ids(root))
    if named and named[1] in ids:
        last = len(ids) - 1 - ids[::-1].index(named[1])
        return _place(root, ["criteria", last])
    return _place(root, ["criteria"])


def _keys_at(loc: Sequence[int | str]) -> list[str]:
    """The keys that the schema allows at a place of the front matter."""
    model: type[BaseModel] = FrontMatter
    for part in loc:
        field = next((info for name, info in model.model_fields.items() if (info.alias or name) == part), None)
        if field is None:
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [info.alias or name for name, info in model.model_fields.items()]
