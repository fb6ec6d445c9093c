"""Reading front matter, with the line of each fault."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from worker.core.rubric.problem import LintFinding, RubricProblem
from worker.core.rubric.schema import MAX_RUBRIC_CHARS, FrontMatter

_MARKERS = re.compile(r"^---[ \t]*$", re.MULTILINE)


class _Loader(yaml.SafeLoader):
    """YAML without aliases, without doubled keys, and with `on`, `off`, `yes` and `no` as plain words."""

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
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    raise yaml.composer.ComposerError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(str(key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge")
    ]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false|True|False)$"), list("tTfF"))


def canonical(text: str) -> str:
    r"""The form in which a file is hashed and rendered: no BOM, `\n` only, no trailing blanks, one newline at the end.

    Example:
        >>> canonical("a  \r\nb\n\n")
        'a\nb\n'
    """
    folded = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in folded.split("\n")).rstrip("\n") + "\n"


def split_file(text: str, path: str) -> tuple[str, str]:
    """Front matter and body of a canonical rubric file; the body keeps its line numbers by leading empty lines.

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
    """Validate front matter as `split_file` gives it.

    Returns:
        The front matter (None when it is wrong), and every finding, in the order of the file.
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
    """The errors worth saying, without those that only follow from another one."""
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
    said = str(problem["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in loc)
    code = "schema"
    if "stands twice" in said:
        code = "duplicate-criterion"
    if "`levels`" in said:
        code = "missing-anchors"
    if not loc:  # a validator over the whole: point at the criterion it names
        line, column = _criterion_place(root, said)
        return LintFinding(path, line, column, code, said)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}"
        said = f"`{where}` is not a key of a rubric{hint}"
    elif problem["type"] == "missing":
        said = f"`{where}` is missing"
    else:
        said = f"`{where}`: {said[:1].lower()}{said[1:]}; found {problem.get('input')!r:.80}"
    line, column = _place(root, loc)
    return LintFinding(path, line, column, code, said)


def _place(root: yaml.Node | None, loc: Sequence[int | str]) -> tuple[int, int]:
    """Line and column of the deepest node of `loc` that exists; the key's place for a mapping's entry."""
    node, place = root, (1, 1)
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            place, node = (found[0].start_mark.line + 1, found[0].start_mark.column + 1), found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            place = (node.start_mark.line + 1, node.start_mark.column + 1)
        else:
            break
    return place


def criterion_place(front: str, criterion_id: str, key: str = "question") -> tuple[int, int]:
    """Where a key of a criterion stands in valid front matter: (line, column); (1, 1) when it does not."""
    root = yaml.compose(front, Loader=_Loader)
    for place, found in enumerate(_criterion_ids(root)):
        if found == criterion_id:
            return _place(root, ["criteria", place, key])
    return 1, 1


def _criterion_ids(root: yaml.Node | None) -> Iterator[str]:
    entries = root.value if isinstance(root, yaml.MappingNode) else []
    criteria = next((value for key, value in entries if key.value == "criteria"), None)
    for node in criteria.value if isinstance(criteria, yaml.SequenceNode) else []:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        yield next((str(value.value) for key, value in pairs if key.value == "id"), "")


def _criterion_place(root: yaml.Node | None, said: str) -> tuple[int, int]:
    named = re.search(r"criterion '([^']*)'", said)
    ids = list(_criterion_ids(root))
    if named and named[1] in ids:
        last = len(ids) - 1 - ids[::-1].index(named[1])
        return _place(root, ["criteria", last])
    return _place(root, ["criteria"])


def _keys_at(loc: Sequence[int | str]) -> list[str]:
    """The keys allowed at a place of the front matter."""
    model: type[BaseModel] = FrontMatter
    for part in loc:
        field = next((info for name, info in model.model_fields.items() if (info.alias or name) == part), None)
        if field is None:
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [info.alias or name for name, info in model.model_fields.items()]
