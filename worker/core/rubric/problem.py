"""Findings in a rubric file, and the error that carries one."""

from typing import NamedTuple

from worker.errors import RubricError

SUFFIX = ".rubric.md.j2"


class LintFinding(NamedTuple):
    """One error or piece of advice about a rubric file; as text `path:line:column  message`."""

    path: str
    line: int
    column: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}  {self.message}"


def name_problem(name: str, path: str) -> LintFinding | None:
    """The finding for a file that is not named `<name>.rubric.md.j2`; None when the name is right."""
    file = path.replace("\\", "/").rpartition("/")[2]
    if not file.endswith(SUFFIX) or file == name + SUFFIX:
        return None
    return LintFinding(path, 2, 1, "schema", f"the rubric is named {name!r}, so its file must be {name + SUFFIX!r}")


class RubricProblem(RubricError):
    """A rubric file is not valid; `finding` says what and where."""

    def __init__(self, finding: LintFinding, others: int = 0) -> None:
        more = f" (and {others} more; see `spotcheck rubric lint`)" if others else ""
        super().__init__(f"{finding.path}:{finding.line}: {finding.message}{more}")
        self.finding = finding
