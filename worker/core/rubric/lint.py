"""Lint of a rubric file: errors that keep it from loading, and advice, each with its line."""

import re
from collections.abc import Iterator, Mapping

from worker.core.rubric.front_matter import canonical, check_front, criterion_place, split_file
from worker.core.rubric.problem import LintFinding, RubricProblem, name_problem
from worker.core.rubric.sandbox import Checked, check_template
from worker.core.rubric.schema import FrontMatter

_RETIRED = re.compile(
    r"^(?:openai/)?(?:gpt-3\.5|gpt-4(?![.\d])|gpt-4\.1|gpt-4\.5|chatgpt-4o|o1\b|o3\b|o4-mini\b"
    r"|gpt-5(?:-(?:mini|nano|pro|chat-latest|codex))?(?:-2025-\d\d-\d\d)?$)"
)
"""OpenAI models that are retired or whose shutdown is announced (November 2026): gpt-4o, gpt-4.1 and everything older,
o1 to o4, and the first gpt-5 models."""
_TWO_THINGS = re.compile(r"\b(and|or)\b", re.IGNORECASE)
_ONE_THING = re.compile(
    r"\b(?:between\b[^?]{1,60}?\band|one or more|one or two|more or less|and so on|or not"
    r"|terms and conditions|if and only if)\b",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    r"\b(good|bad|nice|appropriate(?:ly)?|adequate(?:ly)?|proper(?:ly)?|reasonabl[ey]|satisfactor(?:y|ily)|decent|suitabl[ey]"
    r"|high[- ]quality|quality|well|great|fine|acceptabl[ey]|sensibl[ey]|optimal(?:ly)?|effective(?:ly)?)\b",
    re.IGNORECASE,
)
FATAL = frozenset(
    re.findall(
        r"[a-z-]+",
        "schema syntax not-allowed unknown-variable unknown-include unsafe-run-data run-data duplicate-criterion"
        " missing-anchors",
    )
)
"""Codes of errors: a file with one of these does not load."""
MIN_PASS_WHEN = 25
"""A shorter `pass_when` (in characters) is reported as vague."""


def lint(text: str, path: str, includes: Mapping[str, str]) -> list[LintFinding]:
    """All findings in one rubric file, in the order of its lines; those in included files follow.

    Args:
        text: The file's content.
        path: Its path, for the findings.
        includes: Texts of the files it may include, by name.

    Returns:
        Empty when nothing is wrong. With a code in `FATAL` the file does not load; double-barrelled, vague,
        static-prefix, no-reminder, no-system, retired-model and same-samples are advice.

    Example:
        >>> [str(finding) for finding in lint("hello", "x.rubric.md.j2", {})]
        ['x.rubric.md.j2:1:1  the file must begin with front matter between two lines of `---`']
    """
    source = canonical(text)
    try:
        front, body = split_file(source, path)
    except RubricProblem as problem:
        return [problem.finding]
    fields, findings = check_front(front, path)
    checked = check_template(body, path, {name: canonical(content) for name, content in includes.items()})
    findings = findings + checked.findings
    if fields is not None:
        findings += filter(None, [name_problem(fields.name, path)])
        findings += _criteria(fields, front, path)
        findings += _model(fields, source, path)
        findings += _samples(fields, source, path)
    findings += _layout(checked, source, path)
    return sorted(findings, key=lambda finding: (finding.path != path, finding.path, finding.line, finding.column))


def _criteria(fields: FrontMatter, front: str, path: str) -> Iterator[LintFinding]:
    """Criteria that ask two things at once, or use vague words."""
    for criterion in fields.criteria:
        line, column = criterion_place(front, criterion.id)
        if joined := _TWO_THINGS.search(_ONE_THING.sub("", criterion.question)):
            message = (
                f'criterion "{criterion.id}" asks two things ("{joined[1].lower()}");'
                " split it, or the judge cannot say which failed"
            )
            yield LintFinding(path, line, column, "double-barrelled", message)
        for key, words in (("question", criterion.question), ("pass_when", criterion.pass_when or "")):
            if vague := _VAGUE.search(words):
                at = criterion_place(front, criterion.id, key)
                message = (
                    f'criterion "{criterion.id}" is vague ("{vague[1].lower()}"); say what would be seen in the run'
                )
                yield LintFinding(path, *at, "vague", message)
        if fields.scale == "binary" and len(criterion.pass_when or "") < MIN_PASS_WHEN:
            at = criterion_place(front, criterion.id, "pass_when")
            message = f'criterion "{criterion.id}" is vague: its pass_when has less than {MIN_PASS_WHEN} characters'
            yield LintFinding(path, *at, "vague", message)
        whens = [level.when.strip().casefold() for level in criterion.levels]
        if len(set(whens)) < len(whens):
            at = criterion_place(front, criterion.id, "levels")
            message = f'two levels of criterion "{criterion.id}" have the same anchor'
            yield LintFinding(path, *at, "missing-anchors", message)


def _model(fields: FrontMatter, source: str, path: str) -> Iterator[LintFinding]:
    escalate = fields.judge.escalate
    for model in (fields.judge.model, escalate.to if escalate else None):
        if model and _RETIRED.match(model):
            line, column = _find(source, model)
            message = (
                f"{model} is retired or about to be; leave the model to SPOTCHECK_JUDGE_MODEL, or name a current one"
            )
            yield LintFinding(path, line, column, "retired-model", message)


def _samples(fields: FrontMatter, source: str, path: str) -> Iterator[LintFinding]:
    """Several samples at temperature 0, which are all the same."""
    if fields.judge.samples > 1 and fields.judge.params.get("temperature") == 0:
        line, column = _find(source, "temperature")
        message = (
            f"{fields.judge.samples} samples at temperature 0 are the same answer, paid {fields.judge.samples} times;"
            " raise the temperature, or ask once"
        )
        yield LintFinding(path, line, column, "same-samples", message)


def _layout(checked: Checked, source: str, path: str) -> Iterator[LintFinding]:
    """The order of prompt and run data: prompt caching needs a static prefix, safety a reminder after the data."""
    data = next((place for place, use in enumerate(checked.uses) if use.fenced), None)
    early = [use for use in checked.uses[:data] if not use.fenced] if data is not None else checked.uses
    for use in early:
        column = _column(source, use.line, use.text) if use.path == path else 1
        message = (
            f"{use.text} is read above {{{{ run | fenced }}}}, so prompts differ early and the server's prompt cache"
            " saves little; move it below"
        )
        yield LintFinding(use.path, use.line, column, "static-prefix", message)
    if data is not None and not checked.after_data:
        where = checked.uses[data]
        message = (
            "no text follows the run data; add a reminder of what is asked, since the data may end in instructions"
        )
        column = _column(source, where.line, "run") if where.path == path else 1
        yield LintFinding(where.path, where.line, column, "no-reminder", message)
    if data is not None and "system" not in checked.roles:
        message = "there is no system message; instructions belong there, apart from the data"
        yield LintFinding(path, 1, 1, "no-system", message)


def _find(source: str, word: str) -> tuple[int, int]:
    """Line and column of the first occurrence of a word; (1, 1) when there is none."""
    for number, line in enumerate(source.split("\n"), start=1):
        if word in line:
            return number, line.index(word) + 1
    return 1, 1


def _column(source: str, line: int, word: str) -> int:
    lines = source.split("\n")
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    return max(text.find(word), 0) + 1
