"""A wrong spotcheck.toml: one line that names the key, what was found and what is meant; exit 2; nothing is drawn."""

import pytest

from tests.support.restricted_files import mode
from tests.support.shell import Shell
from tests.support.stocked_project import RUNS, night_of, totals

WRONG = [
    ("[sampling\nrate = 1", "spotcheck.toml cannot be read: Expected ']'"),
    ("[sampling]\nrate = 1\nrate = 0.5", "spotcheck.toml cannot be read: Cannot overwrite a value"),
    ("a = " + "[" * 5_000, "spotcheck.toml cannot be read: nested too deeply"),
    ("a = " + "9" * 5_000, "spotcheck.toml cannot be read: Exceeds the limit (4300 digits)"),
    ("[sampling]\nrat = 0.5", "sampling.rat is not a setting; did you mean rate?"),
    ('[sampling]\n"ra\\u001b[2Jte" = 1', "sampling.ra␛[2Jte is not a setting"),
    ("[sampling]\nrate = 1.5", "sampling.rate is 1.5: Input should be less than or equal to 1"),
    ("[sampling]\nrate = -0.1", "sampling.rate is -0.1: Input should be greater than or equal to 0"),
    ('[sampling]\nrate = "5%"', "sampling.rate is '5%': must be a number; 5% is written 0.05"),
    ("[sampling]\nrate = nan", "sampling.rate is nan: Input should be a finite number"),
    ("[sampling]\nrate = true", "sampling.rate is True: true and false are not allowed here"),
    ("[sampling]\nfloor_per_night = -1", "sampling.floor_per_night is -1: Input should be greater than or equal to 0"),
    ("[sampling.task_types.refund]\nrate = 1.5", "sampling.task_types.refund.rate is 1.5"),
    ("[judge]\nbudget_usd_per_day = inf", "judge.budget_usd_per_day is inf: Input should be a finite number"),
    ("[judge]\ntimeout_s = false", "judge.timeout_s is False: true and false are not allowed here"),
    ('[scoring]\nheuristics = ["answr_present"]', "scoring.heuristics: 'answr_present' is not known; did you mean"),
    ('[scoring]\nrubrics = ["task_complete"]', "did you mean task_completion?"),
    ('[scoring]\nrubrics = ["../../etc/passwd"]', "scoring.rubrics: '../../etc/passwd' is not known"),
    ('[scoring]\nheuristics = ["completed", "completed"]', "'completed' stands twice"),
    (
        '[scoring.custom]\nmine = "no_such_module:f"',
        "scoring.custom.mine: no_such_module cannot be imported: ModuleNotFou",
    ),
    ('[scoring.custom]\nmine = "f"', "scoring.custom.mine is 'f': write it like \"package.module:function\""),
    ('[scoring.custom]\ncompleted = "m:f"', "scoring.custom.completed: there is a built-in heuristic of that name"),
    ('[scoring.custom]\ntask_completion = "textwrap:dedent"', "'task_completion': there is a rubric of that name"),
    ("[scoring.custom]\nmine = 3", "scoring.custom.mine is 3: Input should be a valid string"),
    ("[scoring.settings.completed]\na = 1", "scoring.settings.completed: completed has no settings"),
    ("[scoring.schemas.refund]\nminimum = nan", "schemas.refund.minimum is nan, which has no JSON form"),
    ('[scoring.schemas.refund]\ntype = "strng"', "scoring.schemas.refund.type: 'strng' is not valid"),
    (
        '[scoring.schemas.refund.properties.id]\npattern = "["',
        "scoring.schemas.refund.properties.id.pattern: '[' is not a 'regex'",
    ),
    (
        '[[scoring.schemas.refund.anyOf]]\n"$ref" = "#/$defs/nope"',
        "scoring.schemas.refund.anyOf.0.$ref: '#/$defs/nope' leads nowhere in this schema",
    ),
    (
        '[scoring.schemas.refund]\n"$ref" = "https://127.0.0.1:9/schema.json"',
        "scoring.schemas.refund.$ref: 'https://127.0.0.1:9/schema.json' leads nowhere in this schema",
    ),
]


@pytest.mark.parametrize(("toml", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_policy_is_one_line_before_anything_is_drawn(shell: Shell, toml: str, said: str) -> None:
    (shell.folder / "spotcheck.toml").write_text(toml, encoding="utf-8")
    assert said in shell.refused("nightly", "--wait")


def test_a_right_schema_with_references_of_its_own_is_no_complaint(shell: Shell) -> None:
    toml = """
    [scoring.schemas.refund]
    "$ref" = "#/$defs/answer"
    [scoring.schemas.refund."$defs".answer]
    type = "object"
    const = { "$ref" = "#/nowhere, but this is a value" }
    """
    (shell.folder / "spotcheck.toml").write_text(toml)
    assert shell("settings").code == 0


def test_rate_0_draws_the_floor_and_nothing_else(stocked: tuple[Shell, str]) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 0\nflagged_rate = 0\nfloor_per_night = 3\n")
    drawn = shell("sample", "--since", night, "--until", night, "--json").json["strata"]
    assert [(stratum["population"], stratum["sampled"], stratum["why"]) for stratum in drawn] == [(RUNS, 3, "floor")]
    (one,) = drawn
    assert 0 < one["inclusion_probability"] < 1


def test_rate_0_and_floor_0_draw_nothing_and_every_run_is_accounted_for(stocked: tuple[Shell, str]) -> None:
    shell, night = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 0\nflagged_rate = 0\nfloor_per_night = 0\n")
    said = shell("nightly", "--date", night, "--wait", "--json")
    assert said.code == 0, said
    assert said.json["sampled"] == 0
    counted = totals(shell)
    assert counted["sampled_out"] == counted["ended"] - counted["filtered"] > 0


@pytest.mark.parametrize("command", ["sample", "nightly"])
def test_a_task_type_that_no_run_has_is_a_warning_with_what_was_meant(stocked: tuple[Shell, str], command: str) -> None:
    shell, night = stocked
    toml = "[sampling.task_types.refnd]\nrate = 1\n[scoring.schemas.refund]\n[scoring.schemas.zzz]\n"
    (shell.folder / "spotcheck.toml").write_text(toml + "[scoring]\nrubrics = []\n")
    said = shell(command, "--since", night, "--until", night)
    assert said.code == 0, said
    assert said.err.splitlines() == [
        "spotcheck.toml: [sampling.task_types.refnd] has no effect yet: "
        "no run has this task type; did you mean refund?",
        "spotcheck.toml: [scoring.schemas.zzz] has no effect yet: no run has this task type; known are refund",
    ]


def test_before_the_first_run_no_task_type_is_called_unknown(shell: Shell) -> None:
    (shell.folder / "spotcheck.toml").write_text("[sampling.task_types.refund]\nrate = 1\n[scoring]\nrubrics = []\n")
    assert shell("nightly").err == ""


def test_a_file_that_is_no_text_or_may_not_be_read_is_one_line(shell: Shell) -> None:
    toml = shell.folder / "spotcheck.toml"
    toml.write_bytes(b"[sampling]\nrate = 0.5 # \xe9\n")
    assert "spotcheck.toml cannot be read: not UTF-8 text at byte 24" in shell.refused("status")
    toml.write_text("[sampling]\nrate = 0.5\n")
    with mode(toml, 0):
        assert shell.refused("status") == "spotcheck: spotcheck.toml cannot be read: Permission denied"
    toml.unlink()
    toml.mkdir()
    assert shell.refused("status") == "spotcheck: spotcheck.toml cannot be read: Is a directory"


def test_the_mark_that_some_editors_write_first_is_passed_over(stocked: tuple[Shell, str]) -> None:
    shell, _ = stocked
    (shell.folder / "spotcheck.toml").write_text("[sampling]\nrate = 0.5\n", encoding="utf-8-sig")
    values = {setting["name"]: setting["value"] for setting in shell("settings", "--json").json["settings"]}
    assert values["sampling.rate"] == "0.5"
    assert night_of(shell)
