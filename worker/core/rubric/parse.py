"""Parsing and identifying a rubric from the text of its file; `scorers.rubric.files` reads the files."""

import hashlib
from collections.abc import Mapping
from typing import Any

from worker.core.rubric.front_matter import canonical, check_front, split_file
from worker.core.rubric.problem import SUFFIX, LintFinding, RubricProblem, name_problem
from worker.core.rubric.render import RubricTemplate
from worker.core.rubric.sandbox import check_template, raise_first
from worker.core.rubric.schema import Criterion, FrontMatter

__all__ = ["SUFFIX", "Criterion", "LintFinding", "Rubric", "RubricProblem", "canonical", "identity", "parse"]


class Rubric(FrontMatter):
    """A valid rubric: its front matter, its text, and the texts it includes."""

    path: str
    """The file it was read from; where several folders have one of this name, the first in order."""
    source: str
    """The whole file in canonical form, which is both hashed and rendered."""
    includes: Mapping[str, str]
    """Canonical texts of the files it includes, directly or not, by their name in the prompts folder."""

    @property
    def threshold(self) -> float:
        """The aggregate (0..1) from which on a run passes."""
        return self.passing.threshold

    def compiled(self) -> RubricTemplate:
        """The compiled body; keep it, since compiling takes milliseconds."""
        return RubricTemplate(split_file(self.source, self.path)[1], self.path, self.includes, self.model_dump())


def parse(text: str, path: str, includes: Mapping[str, str] | None = None) -> Rubric:
    """Read a rubric file.

    Args:
        text: The file's content.
        path: Its path, for messages; its name must be `<name>.rubric.md.j2` where it ends in `.rubric.md.j2`.
        includes: Texts of the files it may include, by their name in the prompts folder.

    Returns:
        The rubric, with only those includes that it uses.

    Raises:
        RubricProblem: The file is not valid; its message has file and line.
    """
    source = canonical(text)
    texts = {name: canonical(content) for name, content in (includes or {}).items()}
    front, body = split_file(source, path)
    fields, findings = check_front(front, path)
    if fields is None:
        raise RubricProblem(findings[0], len(findings) - 1)
    if wrong_name := name_problem(fields.name, path):
        raise RubricProblem(wrong_name)
    checked = check_template(body, path, texts)
    raise_first(checked)
    given: dict[str, Any] = {
        (info.alias or name): getattr(fields, name) for name, info in FrontMatter.model_fields.items()
    }
    used = {name: texts[name] for name in checked.includes}
    return Rubric(**given, path=path, source=source, includes=used)


def identity(rubric: Rubric, includes: Mapping[str, str] | None = None) -> str:
    """The hash of a rubric: SHA-256 hex over its canonical file and those of its includes.

    Other line ends, a BOM or trailing blanks do not change it; every other change does.

    Args:
        rubric: As `parse` returns it.
        includes: Texts to use in place of those it was parsed with; only the names it includes matter.
    """
    texts = {name: canonical((includes or rubric.includes)[name]) for name in rubric.includes}
    digest = hashlib.sha256(b"spotcheck:rubric:v1")
    for name, text in [("", rubric.source), *sorted(texts.items())]:
        for part in (name, text):
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()
