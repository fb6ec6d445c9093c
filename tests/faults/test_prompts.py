"""Rubric files of every wrong kind: one line with file and line, exit 2, before anything is drawn or sent."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.restricted_files import mode
from tests.support.shell import Shell
from tests.support.stocked_project import totals
from worker.demo.judge.server import MODEL, JudgeServer, simulated_verdict

FRONT = """\
---
name: mine
version: 1.0.0
criteria:
  - id: done
    question: Did the agent do what was asked?
    pass_when: The last message says that the order was refunded.
---
"""
BODY = """\
{% chat role="system" %}You judge.{% endchat %}
{% chat role="user" %}{{ run | fenced }} Judge it now.{% endchat %}
"""
GOOD = FRONT + BODY


def with_body(extra: str) -> str:
    return GOOD.replace("You judge.", extra)


Writer = Callable[[str], Path]


@pytest.fixture
def mine(shell: Shell) -> Writer:
    """Writes prompts/mine.rubric.md.j2, which is in force."""
    prompts = shell.folder / "prompts"
    prompts.mkdir()
    (shell.folder / "spotcheck.toml").write_text('[scoring]\nheuristics = ["completed"]\nrubrics = ["mine"]\n')

    def write(text: str) -> Path:
        path = prompts / "mine.rubric.md.j2"
        path.write_text(text, encoding="utf-8")
        return path

    return write


WRONG = [
    ("", ":1: the file must begin with front matter"),
    ("\ufeff", ":1: the file must begin with front matter"),
    (BODY, ":1: the file must begin with front matter"),
    ("---\nname: mine\n", ":1: the file must begin with front matter between two lines of `---`"),
    (GOOD.replace("name: mine", "name: [mine"), ":3: not YAML"),
    (GOOD.replace("name: mine", "name: *mine"), "aliases (`*name`) are not allowed"),
    (GOOD.replace("name: mine", "name: other"), "its file must be 'other.rubric.md.j2'"),
    (GOOD.replace("name: mine", "name: mine\nname: mine"), ":3: not YAML: 'name' stands twice"),
    (GOOD.replace("criteria:", "criteria: 3\nx:"), "criteria"),
    (GOOD.replace("version: 1.0.0", "version: one"), "`version`"),
    (GOOD.replace("version: 1.0.0", "version: 1.0.0\nweigth: 3"), "`weigth` is not a key of a rubric"),
    (
        FRONT[:-4] + "  - {id: done, question: Again, pass_when: It says so in the last message.}\n---\n" + BODY,
        "criterion 'done' stands twice; ids must differ",
    ),
    (GOOD.replace("criteria:", "criteria: " + "[" * 500 + "\nx:"), "not YAML"),
    ("---\n- a\n- b\n---\n" + BODY, "the front matter must be a mapping of keys to values"),
    (with_body('{% include "_shared/nope.md.j2" %}'), "'_shared/nope.md.j2' is not in the prompts folder"),
    (with_body("{{ criterion }}"), ":9: criterion does not exist; did you mean criteria?"),
    (with_body("{{ rubric.nme }}{{ nope }}"), ":9: nope does not exist"),
    (with_body("{{ run.outptu }}"), "run.outptu does not exist; did you mean run.output?"),
    (with_body("{% if %}"), ":9: Expected"),
    (with_body("{% set a = 1 %}"), "`assign` cannot be used in a rubric"),
    (with_body("x" * 70_000), "characters; a rubric may have 64,000"),
    (with_body("x" * 300_000), "bytes; a template may have 64,000 characters"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_rubric_is_one_line_with_its_place_before_anything_is_drawn(
    shell: Shell, mine: Writer, text: str, said: str
) -> None:
    mine(text)
    line = shell.refused("nightly", "--wait")
    assert line.startswith("spotcheck: prompts/mine.rubric.md.j2:")
    assert said in line
    assert len(line) < 500
    assert shell("rubric", "lint", "prompts/mine.rubric.md.j2").code == 2


def test_templates_that_include_one_another_are_told_with_the_way_round(shell: Shell, mine: Writer) -> None:
    mine(with_body('{% include "a.md.j2" %}'))
    (shell.folder / "prompts" / "a.md.j2").write_text('A {% include "b.md.j2" %}')
    (shell.folder / "prompts" / "b.md.j2").write_text('B {% include "a.md.j2" %}')
    line = shell.refused("nightly")
    assert "prompts/mine.rubric.md.j2" in line or "b.md.j2:1" in line
    assert "'a.md.j2' includes itself: a.md.j2 → b.md.j2 → a.md.j2" in line


def test_includes_that_double_each_time_are_stopped(shell: Shell, mine: Writer) -> None:
    mine(with_body('{% include "i0.md.j2" %}'))
    for number in range(6):
        twice = f'{{% include "i{number + 1}.md.j2" %}}' * 30
        (shell.folder / "prompts" / f"i{number}.md.j2").write_text(twice)
    (shell.folder / "prompts" / "i6.md.j2").write_text("x" * 10_000)
    assert "includes may be 5 deep and 200,000 characters in all" in shell.refused("nightly")


ENDLESS = [
    ("{% for a in range(20000) %}{{ 'x' * 30 }}{% endfor %}", "* of anything but numbers"),
    ("{% for a in range(10000) %}" + "word " * 12 + "{% endfor %}", "more than 400,000 characters of output"),
    (
        "{% for a in range(9000) %}{% for b in range(9000) %}{% for c in range(9000) %}{% endfor %}{% endfor %}"
        "{% endfor %}",
        "loops of more than 20,000 turns",
    ),
    ("{{ 9 ** 9 ** 9 ** 9 }}", "** of numbers over 1,000, or with an exponent over 6"),
    ("{% for a in range(1000000000) %}{% endfor %}", "range() of more than 20,000 numbers"),
]


@pytest.mark.parametrize(("text", "said"), ENDLESS, ids=[said for _, said in ENDLESS])
def test_a_template_without_end_is_stopped_in_the_preview_and_in_the_night(
    stocked: tuple[Shell, str], mine: Writer, text: str, said: str
) -> None:
    shell, night = stocked
    mine(with_body(text))
    line = shell.refused("rubric", "preview", "mine", "--run", "r-1")
    assert line.startswith("spotcheck: prompts/mine.rubric.md.j2:9: cannot be rendered: ")
    assert said in line
    with JudgeServer(lambda request, headers: simulated_verdict(request, lambda prompt: 1.0)) as judge:
        environ = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        assert shell("nightly", "--date", night, "--wait", **environ).code == 0
        assert judge.requests.count == 0, "nothing half-rendered may reach a judge"
        counted = totals(Shell(shell.folder, environ))
    assert (counted["failed"], counted["scored"], counted["pending"]) == (3, 3, 0), "the heuristic goes on"
    reasons = [decision["reason"] for decision in shell("explain", sampled(shell), "--json").json["decisions"]]
    assert any(said in (reason or "") for reason in reasons), reasons


def sampled(shell: Shell) -> str:
    """A run that was drawn."""
    for run in shell("runs", "--json").json["runs"]:
        decisions = shell("explain", run["run_id"], "--json").json["decisions"]
        if any(decision["state"] == "failed" for decision in decisions):
            return str(run["run_id"])
    raise AssertionError("no run failed")


def test_a_link_that_leads_out_of_the_folder_is_not_followed(shell: Shell, mine: Writer) -> None:
    mine(GOOD)
    secret = shell.folder / "secret.txt"
    secret.write_text("s3cret")
    (shell.folder / "prompts" / "leak.md.j2").symlink_to(secret)
    said = shell("nightly")
    assert said.code == 0, "no rubric includes it"
    line = "prompts/leak.md.j2:1: is a link that leads out of the prompts folder; no scorer needs it"
    assert line in said.err
    mine(GOOD.replace("{% endchat %}", "{% include 'leak.md.j2' %}{% endchat %}", 1))
    assert "s3cret" not in shell("rubric", "lint").out
    assert "prompts/mine.rubric.md.j2:" in shell.refused("nightly")


def test_files_and_folders_without_rights_are_told_and_never_replaced_by_the_shipped_ones(
    shell: Shell, mine: Writer
) -> None:
    path = mine(GOOD)
    with mode(path, 0):
        assert "prompts/mine.rubric.md.j2:1: cannot be read: Permission denied" in shell.refused("nightly")
        assert "cannot be read: Permission denied" in shell.refused("rubric", "lint", path)
    with mode(path.parent, 0o100):
        assert "prompts folder 'prompts' cannot be read: Permission denied" in shell.refused("nightly")


def test_a_folder_that_is_none_or_holds_everything_is_told(shell: Shell) -> None:
    assert "SPOTCHECK_PROMPTS: folder 'nope' does not exist" in shell.refused("nightly", SPOTCHECK_PROMPTS="nope")
    many = shell.folder / "many"
    many.mkdir()
    for number in range(501):
        (many / f"{number}.md.j2").touch()
    assert "'many' holds 501 templates; a prompts folder may hold 500" in shell.refused(
        "rubric", "list", SPOTCHECK_PROMPTS="many"
    )


def test_a_file_that_is_no_text_is_told(shell: Shell, mine: Writer) -> None:
    mine("").write_bytes(b"---\nname: caf\xe9\n---\n")
    assert "prompts/mine.rubric.md.j2:1: is not UTF-8 (byte 13)" in shell.refused("nightly")
