"""`spotcheck settings` lists what each scorer can be told, with defaults; a list is called a list."""

from pathlib import Path

import pytest

from tests.support.custom_scorers import importable, write_module
from tests.support.shell import Shell

MODULE = """\
from pydantic import BaseModel, Field


class Limits(BaseModel):
    most: int = Field(200, description="The most characters of an answer.")
    words: tuple[str, ...] = ("sorry",)
    kinds: frozenset[str] = frozenset()


def short(settings: Limits):
    return lambda run: len(run.output or "") <= settings.most
"""
TOML = '[scoring]\nheuristics = ["valid_json", "short"]\n[scoring.custom]\nshort = "limited_checks:short"\n'


@pytest.fixture
def custom(shell: Shell) -> Shell:
    """A project with a scorer of its own that takes settings."""
    write_module(shell.folder, "limited_checks", MODULE)
    (shell.folder / "spotcheck.toml").write_text(TOML + "[scoring.settings.short]\nmost = 50\n")
    return shell


def test_the_settings_of_a_scorer_are_listed_with_their_defaults(custom: Shell) -> None:
    with importable(custom.folder):
        said = custom("settings", "--json").json["settings"]
    found = {one["name"]: one for one in said if one["name"].startswith("scoring.settings.")}
    assert {name: (one["value"], one["source"]) for name, one in found.items()} == {
        "scoring.settings.short.most": ("50", "spotcheck.toml"),
        "scoring.settings.short.words": ('["sorry"]', "default"),
        "scoring.settings.short.kinds": ("[]", "default"),
    }
    assert found["scoring.settings.short.most"]["help"] == "The most characters of an answer."
    assert found["scoring.settings.short.words"]["help"] == "a setting of short"


@pytest.mark.parametrize("key", ["words", "kinds"])
def test_a_list_is_called_a_list(custom: Shell, key: str) -> None:
    (custom.folder / "spotcheck.toml").write_text(f'{TOML}[scoring.settings.short]\n{key} = "sorry"\n')
    with importable(custom.folder):
        line = custom.refused("score")
    assert f'scoring.settings.short.{key} is \'sorry\': must be a list, like ["a", "b"]' in line


def test_settings_that_name_no_scorer_are_shown_all_the_same(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "spotcheck.toml").write_text('[scoring]\nheuristics = ["answr_present"]\n')
    said = shell("settings")
    assert said.code == 0
    assert 'scoring.heuristics = ["answr_present"]   (spotcheck.toml)' in said.out
    assert said.err == "scoring.heuristics: 'answr_present' is not known; did you mean answer_present?\n"
