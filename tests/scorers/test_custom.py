"""A team's own scorers: how they are found and made, and that their faults stay with the run they hit."""

import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.custom_scorers import HARMLESS, importable, install, write_module
from worker.core.judging.verdict import MAX_REASON_CHARS
from worker.errors import SettingsError
from worker.records import Outcome, Run, RunFilter, Step
from worker.scorers.custom import scorer as custom_scorer
from worker.scorers.heuristics.completed import Completed
from worker.scorers.heuristics.heuristic import Heuristic
from worker.scorers.protocol import Context
from worker.scorers.registry import build
from worker.settings.sections_sampling import ScoringSection

RUN = Run(
    run_id="r",
    task_type="t",
    status="completed",
    ended_at=datetime(2026, 5, 4, tzinfo=UTC),
    input="a",
    output="b",
    steps=(Step(seq=0, kind="tool", name="find", arguments={"order": [1]}),),
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder that modules are imported from."""
    with importable(tmp_path):
        yield tmp_path


def made(target: str, table: dict[str, Any] | None = None) -> Heuristic:
    """The scorer `mine` of the settings."""
    scoring: dict[str, Any] = {"heuristics": ("mine",), "custom": {"mine": target}}
    return build(ScoringSection.model_validate(scoring | ({} if table is None else {"settings": {"mine": table}})))[
        "mine"
    ]


def outcome(site: Path, name: str, body: str) -> Outcome:
    """What a function of this body says of a run."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    write_module(site, name, f"from worker.records import Outcome, scored, unscored\ndef mine(run):\n{lines}\n")
    return made(f"{name}:mine").evaluate(RUN, Context())


@pytest.mark.parametrize(
    ("body", "value", "label", "reason"),
    [
        ("return 0.25", 0.25, None, None),
        ("return 1", 1.0, None, None),
        ("return run.output == 'b'", 1.0, "pass", None),
        ("return False", 0.0, "fail", None),
        ("from fractions import Fraction\nreturn Fraction(1, 2)", 0.5, None, None),
        ("return None", None, None, "not_applicable"),
        ("return scored(0.5, label='half')", 0.5, "half", None),
        ("return unscored('no_invoice')", None, None, "no_invoice"),
        ("return 1.01", None, None, "scorer_failed:out_of_range"),
        ("return -0.0001", None, None, "scorer_failed:out_of_range"),
        ("return float('nan')", None, None, "scorer_failed:out_of_range"),
        ("return float('inf')", None, None, "scorer_failed:out_of_range"),
        ("return 10 ** 400", None, None, "scorer_failed:OverflowError"),
        ("return '0.5'", None, None, "scorer_failed:wrong_type"),
        ("return [0.5]", None, None, "scorer_failed:wrong_type"),
        ("async def later():\n    return 1\nreturn later()", None, None, "scorer_failed:wrong_type"),
        ("return Outcome()", None, None, "scorer_failed:wrong_type"),
        ("return Outcome(value=1, reason='both')", None, None, "scorer_failed:wrong_type"),
        ("return scored(1, criterion='c')", None, None, "scorer_failed:criterion"),
        ("return Outcome.model_construct(value=7.0)", None, None, "scorer_failed:ValidationError"),
        ("return scored(0.5).model_copy(update={'value': float('nan')})", None, None, "scorer_failed:ValidationError"),
        ("return {}[run.run_id]", None, None, "scorer_failed:KeyError"),
        ("raise SystemExit(3)", None, None, "scorer_failed:SystemExit"),
        ("import asyncio\nraise asyncio.CancelledError", None, None, "scorer_failed:CancelledError"),
        ("import numpy\nreturn numpy.float64(3) > 2", 1.0, "pass", None),
        ("import numpy\nreturn numpy.array([0.5])", None, None, "scorer_failed:wrong_type"),
        ("return scored(0.5, evidence=({'seen': {1}},))", None, None, "scorer_failed:wrong_type"),
        ("return scored(0.5, evidence=({'seen': float('nan')},))", None, None, "scorer_failed:wrong_type"),
        ("return unscored('x' * 10 ** 6)", None, None, "x" * 79 + "…"),
        ("return unscored('a\\nb\\x1b[2J')", None, None, "a b [2J"),
        ("return unscored(' ')", None, None, "no_reason"),
        ("return scored(0.5, label='l' * 10 ** 6)", 0.5, "l" * 59 + "…", None),
        ("return scored(0.5, evidence=({'seen': 'x' * 10 ** 6},))", None, None, "scorer_failed:too_large"),
        ("def f(): return f()\nreturn f()", None, None, "scorer_failed:RecursionError"),
        ("class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd", None, None, "scorer_failed:Odd"),
        ("raise type('E' * 5000 + '\\x00', (Exception,), {})('x' * 10 ** 6)", None, None, None),
    ],
)
def test_whatever_a_function_does_the_run_has_a_value_or_a_reason(
    site: Path, body: str, value: float | None, label: str | None, reason: str | None
) -> None:
    name = f"case_{zlib.crc32(body.encode())}"
    said = outcome(site, name, body)
    assert (said.value, said.label) == (value, label)
    assert (said.value is None) != (said.reason is None)
    assert reason is None or said.reason == reason
    assert len(said.reason or "") < 100
    assert len(said.rationale or "") < 260
    assert "\n" not in (said.rationale or "")


def test_a_sentence_is_as_long_as_a_judges_at_most(site: Path) -> None:
    said = outcome(site, "talkative", "return scored(0.5, rationale='word ' * 10 ** 6 + '\\x00')")
    assert said.value == 0.5
    assert len(said.rationale or "") == MAX_REASON_CHARS


def test_an_error_says_where(site: Path) -> None:
    said = outcome(site, "where", "amount = run.steps[0].arguments\nreturn amount['price']")
    assert said.rationale == "KeyError: 'price' (where.py:4)"


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "while True:\n    try:\n        while True: pass\n    except Exception:\n        pass",
        "import re\nreturn re.match('(a+)+b', 'a' * 60) is None",
    ],
    ids=["an endless loop", "one that catches exceptions", "a slow pattern"],
)
def test_a_function_without_end_is_ended(site: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(custom_scorer, "MAX_SECONDS", 0.2)
    said = outcome(site, f"endless_{zlib.crc32(body.encode())}", body)
    assert (said.value, said.reason) == (None, "scorer_failed:timeout")
    monkeypatch.undo()
    slow = outcome(site, "slow", "import time\ntime.sleep(1.1)\nreturn 1")
    assert slow.value == 1.0, "what is left of the last one's time does not interrupt the next"


def test_in_a_thread_it_works_without_a_limit(site: Path) -> None:
    said: list[Outcome] = []
    thread = threading.Thread(target=lambda: said.append(outcome(site, "threaded", "return 0.5")))
    thread.start()
    thread.join()
    assert [one.value for one in said] == [0.5]


def test_it_cannot_change_the_run_for_others_and_prints_to_stderr(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "print('hello')\nrun.steps[0].arguments['order'].clear()\nreturn 1"
    assert outcome(site, "meddler", body).value == 1.0
    assert RUN.steps[0].arguments == {"order": [1]}
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "hello\n")


FACTORIES = '''\
from dataclasses import dataclass
from pydantic import BaseModel, Field
from worker.records import RunFilter, scored
from worker.scorers.heuristics.heuristic import Heuristic


@dataclass(frozen=True)
class Length:
    most: int = 1


class Limits(BaseModel):
    most: int = Field(ge=0)
    words: frozenset[str] = frozenset({"a", "b", "c", "d"})


def of_dataclass(settings: Length):
    return lambda run: len(run.output) <= settings.most


def of_model(settings: Limits):
    return lambda run: len(run.output) <= settings.most


def of_dict(settings):
    return lambda run: len(run.output) <= settings.get("most", 1)


def broken(settings: Limits):
    raise RuntimeError("no limits")


class Named(Heuristic):
    """Cannot see: much."""

    name = "another_name"
    version = "7"
    parameters = {"words": 3}
    applies_to = RunFilter(task_types=("t",))

    def evaluate(self, run, context):
        return scored(1.0, rationale=str(context.reference))


instance = Named()


class NotDefined:
    def __init__(self, settings: "Nowhere"):
        pass


NUMBER = 3


class Odd(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    at: object = None
    most: float = 0.0

    def model_post_init(self, context):
        if self.at == "object":
            self.at = object()


def of_odd(settings: Odd):
    return lambda run: 1


async def later(run):
    return 1


def of_two(run, other):
    return 1


def bad_version(run):
    return 1


bad_version.version = "1 2"
'''


@pytest.fixture
def factories(site: Path) -> Path:
    write_module(site, "factories", FACTORIES)
    return site


@pytest.mark.parametrize("name", ["of_dataclass", "of_model", "of_dict"])
def test_a_factory_gets_its_table_in_the_type_it_asks_for(factories: Path, name: str) -> None:
    one, none = made(f"factories:{name}", {"most": 1}), made(f"factories:{name}", {"most": 0})
    assert (one.evaluate(RUN, Context()).value, none.evaluate(RUN, Context()).value) == (1.0, 0.0)
    assert one.key.fingerprint != none.key.fingerprint
    assert one.key == made(f"factories:{name}", {"most": 1}).key


def test_settings_as_by_default_are_no_other_series(factories: Path) -> None:
    assert made("factories:of_dataclass").key == made("factories:of_dataclass", {"most": 1}).key


@pytest.mark.parametrize("path", ["Named", "instance"])
def test_a_class_and_an_instance_of_the_heuristic_protocol_are_scorers(factories: Path, path: str) -> None:
    scorer = made(f"factories:{path}")
    assert (scorer.key.name, scorer.key.version, scorer.applies_to) == ("mine", "7", RunFilter(task_types=("t",)))
    assert scorer.key.spec["parameters"] == {"words": 3}
    assert "code" not in scorer.key.spec
    assert scorer.evaluate(RUN, Context()).rationale == "None"


@pytest.mark.parametrize(
    ("target", "table", "said"),
    [
        ("nowhere_at_all:f", None, "nowhere_at_all cannot be imported: ModuleNotFoundError: No module named"),
        ("factories:lat", None, "has no lat; did you mean later?"),
        ("factories", None, "is 'factories': write it like \"package.module:function\""),
        ("../x:f", None, 'write it like "package.module:function"'),
        ("factories:NUMBER", None, "NUMBER is int; a scorer is a function of a run, or has evaluate()"),
        ("factories:later", None, "later is async; a scorer is a plain function"),
        ("factories:of_two", None, "of_two must take one argument, the run"),
        ("factories:bad_version", None, "version is '1 2'; write it like"),
        ("factories:broken", {"most": 1}, "broken cannot be made: RuntimeError: no limits"),
        ("factories:NotDefined", {}, "NotDefined cannot be made: NameError: name 'Nowhere' is not defined"),
        ("factories:of_model", None, "scoring.settings.mine.most is missing"),
        ("factories:of_model", {"most": -1}, "scoring.settings.mine.most is -1: Input should be greater than or equal"),
        ("factories:of_model", {"mots": 1}, "scoring.settings.mine.mots is not a setting; did you mean most?"),
        ("factories:of_dataclass", {"most": "x"}, "scoring.settings.mine.most is 'x'"),
        ("factories:of_odd", {"at": "object"}, "scoring.settings.mine.at is object, which has no JSON form"),
        ("factories:of_odd", {"most": float("nan")}, "scoring.settings.mine.most is nan, which has no JSON form"),
        ("factories:of_dict", {"a": {"b": [float("inf")]}}, "scoring.settings.mine.a.b is inf, which has no JSON form"),
        ("factories:instance", {"most": 1}, "scoring.settings.mine: factories:instance takes no settings"),
    ],
)
def test_what_cannot_be_a_scorer_is_one_line_that_names_the_setting(
    factories: Path, target: str, table: dict[str, Any] | None, said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        made(target, table)
    assert said in str(refused.value)
    assert "spotcheck.toml: scoring." in str(refused.value)
    assert "mine" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "class mine:\n @property\n def parameters(self): raise LookupError('no table')\n def evaluate(self, r, c): 1\n",
        "class mine:\n    def __init__(self): raise __import__('asyncio').CancelledError('no table')\n",
        "def __getattr__(name): raise ImportError('no table')\n",
    ],
    ids=["a property", "no Exception", "a lazy module"],
)
def test_code_that_fails_while_it_is_looked_at_is_one_line_and_stops_no_other(site: Path, text: str) -> None:
    name = f"failing_{len(text)}"
    write_module(site, name, text)
    failed: list[tuple[str, str]] = []
    scoring = ScoringSection(heuristics=("mine", "completed"), custom={"mine": f"{name}:mine"})
    assert list(build(scoring, lambda name, why: failed.append((name, why)))) == ["completed"]
    assert [(name, "mine cannot be made: " in why, "no table" in why) for name, why in failed] == [("mine", True, True)]


def test_what_a_function_imports_for_its_type_checker_alone_is_not_needed(site: Path) -> None:
    write_module(
        site,
        "typed",
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from worker.records import Run\n\n\ndef mine(run: Run) -> float:\n    return 0.5\n",
    )
    assert made("typed:mine").evaluate(RUN, Context()).value == 0.5


@pytest.mark.parametrize("text", ["def f(:", "import nowhere_at_all", "raise SystemExit('no')", "1 / 0", "\udcff"])
def test_a_module_that_cannot_be_imported_is_one_line(site: Path, text: str) -> None:
    name = f"broken_{len(text)}"
    (site / f"{name}.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=f"scoring.custom.mine: {name} cannot be imported: ") as refused:
        made(f"{name}:f")
    assert "\n" not in str(refused.value)
    failed: list[tuple[str, str]] = []
    scoring = ScoringSection(heuristics=("mine", "completed"), custom={"mine": f"{name}:f"})
    assert list(build(scoring, lambda name, why: failed.append((name, why)))) == ["completed"]
    assert [name for name, _ in failed] == ["mine"]


def test_only_what_is_in_force_is_imported(site: Path) -> None:
    assert list(build(ScoringSection(heuristics=("completed",), custom={"mine": "nowhere_at_all:f"}))) == ["completed"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("completed", "there is a built-in heuristic of that name"),
        ("error_rate", "there is a figure of all runs of that name"),
        ("from_package", "the name is taken by entry point spotcheck.scorers from_package of package taken"),
        ("Big Name", "a scorer's name is lower-case letters, digits and _"),
        ("a\x1b[2J", "a scorer's name is lower-case letters, digits and _"),
    ],
)
def test_a_name_is_taken_once(site: Path, name: str, said: str) -> None:
    install(site, "taken", {"from_package": "taken:short_answer"})
    with pytest.raises(SettingsError) as refused:
        build(ScoringSection(custom={name: "taken:short_answer"}))
    assert said in str(refused.value)


def test_an_entry_point_is_in_force_unless_the_settings_choose_others(site: Path) -> None:
    install(site, "shop_checks", {"short_answer": "shop_checks:short_answer"})
    assert list(build(ScoringSection()))[-1] == "short_answer"
    assert list(build(ScoringSection(heuristics=("short_answer", "completed")))) == ["short_answer", "completed"]
    assert "short_answer" not in build(ScoringSection(heuristics=("completed",)))


PACKAGES = {
    "taken_builtin": {"completed": "taken_builtin:short_answer"},
    "taken_figure": {"error_rate": "taken_figure:short_answer"},
    "taken_rubric": {"tone": "taken_rubric:short_answer"},
    "taken_setting": {"mine": "taken_setting:short_answer"},
    "taken_twice": {"mine": "taken_twice:short_answer"},
    "no_target": {"nothing": "no_target"},
    "no_name": {"No Name": "no_name:short_answer"},
    "no_function": {"gone": "no_function:gone"},
}


def test_a_package_whose_scorer_cannot_be_used_is_told_and_stops_no_other(site: Path) -> None:
    for package, scorers in PACKAGES.items():
        install(site, package, scorers)
    told: dict[str, str] = {}

    def tell(name: str, why: str) -> None:
        told[why.partition("of package ")[2].partition(":")[0].partition(" ")[0]] = why

    built = build(ScoringSection(), on_broken_package=tell, rubrics={"tone"})
    assert set(told) == set(PACKAGES) - {"taken_setting"}, "of two packages the first has the name"
    assert list(built)[-1] == "mine"
    assert isinstance(built["completed"], Completed)
    told.clear()
    assert list(build(ScoringSection(heuristics=("completed",)), on_broken_package=tell)) == ["completed"]
    assert set(told) == {"taken_builtin"}, "what is not in force is nobody's trouble"


def test_a_broken_package_is_no_excuse_for_a_broken_setting(site: Path) -> None:
    install(site, "shop_package", {"mine": "shop_package:short_answer"})
    told: list[str] = []
    scoring = ScoringSection(heuristics=("mine", "completed"), custom={"mine": "shop_package:short_answer"})
    with pytest.raises(SettingsError, match=r"scoring\.custom\.mine: the name is taken by entry point"):
        build(scoring, on_broken_package=lambda name, why: told.append(why))
    assert told == []
    built = build(scoring, lambda name, why: told.append(why))
    assert (list(built), len(told)) == (["mine", "completed"], 1)


def test_files_of_a_package_that_cannot_be_read_stop_nothing(site: Path) -> None:
    install(site, "odd_package", {"mine": "odd_package:short_answer"})
    (site / "odd_package-1.0.dist-info" / "entry_points.txt").write_bytes(b"[spotcheck.scorers]\nmine = \xff:f\n")
    told: list[str] = []
    assert "completed" in build(ScoringSection(), on_broken_package=lambda name, why: told.append(why))
    assert len(told) == 1


def test_a_broken_entry_point_names_its_package(site: Path) -> None:
    install(site, "shop_broken", {"short_answer": "shop_broken:short_answr"})
    with pytest.raises(SettingsError, match=r"entry point spotcheck\.scorers short_answer of package shop_broken"):
        build(ScoringSection())


VERSIONS = """\
LIMIT = 3


def helper(run):
    return len(run.output) <= LIMIT


def other(run):
    return 0


def mine(run):
    return helper(run)
"""


@pytest.mark.parametrize(
    ("old", "new", "is_another"),
    [
        ("return helper(run)", "return not helper(run)", True),
        ("<= LIMIT", "< LIMIT", True),
        ("LIMIT = 3", "LIMIT = 4", True),
        ("return 0", "return 1", False),
        ("LIMIT = 3", "LIMIT = 3\nUNUSED = 1", False),
        ("def mine", "@staticmethod\ndef mine", True),
        ("return helper(run)\n", "return helper(run)\n\n\nmine.version = '1'\n", True),
    ],
)
def test_without_a_version_the_function_and_what_it_uses_of_its_module_are_the_version(
    tmp_path: Path, old: str, new: str, is_another: bool
) -> None:
    keys = []
    for number, text in enumerate((VERSIONS, VERSIONS.replace(old, new))):
        assert number == 0 or text != VERSIONS
        write_module(tmp_path / str(number), "versions", text)
        with importable(tmp_path / str(number)):
            keys.append(made("versions:mine").key)
    assert (keys[0].fingerprint != keys[1].fingerprint) == is_another


@pytest.mark.parametrize(
    "text",
    [
        "import math\n\f\ndef mine(run):\n    print()\n    return 0.5\n",
        "SIGNS = '\u2028\x85'\n\n\ndef mine(run):\n    print()\n    return 0.5\n",
        "try:\n    from nowhere_at_all import far\nexcept ImportError:\n    def far():\n        return 0.5\n\n\n"
        "def mine(run):\n    return far()\n",
        "if True:\n    def mine(run):\n        return 0.5\n",
    ],
    ids=["a form feed", "characters that end a line elsewhere", "a definition in a try", "a function in an if"],
)
def test_every_line_of_what_is_used_counts(tmp_path: Path, text: str) -> None:
    keys = []
    for number, version in enumerate((text, text.replace("0.5", "0.75"))):
        write_module(tmp_path / str(number), "lines", version)
        with importable(tmp_path / str(number)):
            keys.append(made("lines:mine").key)
    assert keys[0].fingerprint != keys[1].fingerprint


def test_with_a_version_only_the_version_counts(tmp_path: Path) -> None:
    keys = []
    texts = [VERSIONS, VERSIONS.replace("3", "4"), VERSIONS]
    for number, (text, version) in enumerate(zip(texts, "112", strict=True)):
        write_module(tmp_path / str(number), "declared", f"{text}\n\nmine.version = '{version}'\n")
        with importable(tmp_path / str(number)):
            keys.append(made("declared:mine").key)
    assert keys[0] == keys[1] != keys[2]
    assert [key.series[:2] for key in keys] == ["1+", "1+", "2+"]


def test_a_file_that_changes_while_the_old_code_runs_changes_no_series(site: Path) -> None:
    path = write_module(site, "running", HARMLESS)
    before = made("running:short_answer").key
    path.write_text(HARMLESS.replace("100", "200"), encoding="utf-8")
    assert made("running:short_answer").key == before


def test_a_scorer_of_another_module_is_told_apart_by_its_own_source(tmp_path: Path) -> None:
    keys = []
    for number, text in enumerate((HARMLESS, HARMLESS.replace("100", "200"))):
        write_module(tmp_path / str(number), "implementation", text)
        write_module(tmp_path / str(number), "face", "from implementation import short_answer\n")
        with importable(tmp_path / str(number)):
            keys.append(made("face:short_answer").key)
    assert keys[0].fingerprint != keys[1].fingerprint
