"""docs/judges.md tells every reason for which a run has no score: each that the code gives, and no other."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from worker.core.judging.unread import ADVICE
from worker.core.judging.verdict_problem import PROMPT_CUT, reply_problem
from worker.errors import VerdictUnreadable
from worker.records import Judging, Reply

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "judges.md").read_text(encoding="utf-8")
GIVES = ("unscored", "unscored_all", "VerdictUnreadable")
"""What is called with a reason; `reply_problem` gives the others."""
ENDS = ("length", "content_filter", "refusal", PROMPT_CUT, "stop")


def texts(node: ast.AST, constants: Mapping[str, str]) -> Iterator[str]:
    """The texts that an argument can be; of one that is put together its beginning."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            yield text
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Name(id=name)), *_]) | ast.Name(id=name):
            if name in constants:
                yield constants[name]
        case ast.IfExp(body=one, orelse=other):
            yield from texts(one, constants)
            yield from texts(other, constants)


def given(path: Path) -> Iterator[str]:
    """The reasons that a file of the code gives."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in GIVES:
            continue
        own = [] if name == "VerdictUnreadable" else node.args
        for argument in [*own, *(each.value for each in node.keywords if each.arg == "reason")]:
            yield from texts(argument, constants)


def kind(reason: str) -> str:
    return reason.partition(":")[0]


def documented() -> dict[str, list[str]]:
    """What a person is told to do, by reason, of both tables."""
    part = PAGE[PAGE.index("## Why a run has no score") :].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \| (.+?) \|$", part, re.MULTILINE)
    return {kind(reason): [why, do] for names, why, do in rows for reason in re.findall(r"`([^`]+)`", names)}


def test_the_page_has_every_reason_of_the_code_and_no_other() -> None:
    files = [path for path in (ROOT / "worker").rglob("*.py") if "docs" not in path.parts]
    code = {kind(reason) for path in files for reason in given(path)}
    judging = Judging(model_requested="m")
    ends = {reply_problem(Reply(content="", finish_reason=end, judging=judging)) for end in ENDS}
    code |= {str(end) for end in ends} | {VerdictUnreadable().reason, "no_reason"}
    assert set(documented()) == code


def test_what_to_do_is_said_of_each() -> None:
    assert [reason for reason, (why, do) in documented().items() if len(why) < 10 or len(do) < 5] == []
    assert set(ADVICE) < set(documented())
