"""Heuristics are built from the settings, and what the settings say enters their identity."""

import pytest

from worker.errors import SettingsError
from worker.scorers.registry import build
from worker.settings.sections_sampling import ScoringSection

SCHEMA = {"type": "object", "required": ["a"]}


def test_the_settings_choose_and_order_them() -> None:
    assert list(build(ScoringSection(heuristics=("completed", "answer_present")))) == ["completed", "answer_present"]


@pytest.mark.parametrize(
    ("scoring", "said"),
    [
        ({"heuristics": ("complted",)}, "scoring.heuristics: 'complted' is not known; did you mean completed?"),
        ({"settings": {"complted": {}}}, "scoring.settings: 'complted' is not known; did you mean completed?"),
        ({"settings": {"completed": {"a": 1}}}, "scoring.settings.completed: completed has no settings"),
        ({"settings": {"valid_json": {}}}, "scoring.settings.valid_json: its schemas stand in [scoring.schemas]"),
    ],
)
def test_what_is_no_heuristic_or_no_setting_of_one_is_refused(scoring: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        build(ScoringSection.model_validate(scoring))
    assert said in str(refused.value)


def fingerprint(**schemas: object) -> str:
    return build(ScoringSection.model_validate({"schemas": schemas}))["valid_json"].key.fingerprint


def test_another_schema_is_another_identity_and_the_same_one_in_another_order_is_not() -> None:
    found = [fingerprint(), fingerprint(faq=SCHEMA), fingerprint(faq=SCHEMA, refund=SCHEMA), fingerprint(faq={})]
    assert len(set(found)) == len(found)
    assert fingerprint(faq={"required": ["a"], "type": "object"}) == fingerprint(faq=SCHEMA)
    assert fingerprint(b=SCHEMA, a=SCHEMA) == fingerprint(a=SCHEMA, b=SCHEMA)


def test_other_heuristics_keep_the_identity_that_release_0_1_stored() -> None:
    built = build(ScoringSection(schemas={"faq": SCHEMA}))
    stored = {
        "answer_present": "5029ae507495eac9",
        "completed": "8fae1f5d9c639efd",
        "tool_success": "e6feb3b8ef956444",
        "no_repeats": "e3e90bdb57825bbb",
        "steps_in_range": "ac2e9f98ce48eee1",
        "cost_in_range": "1e3dbefb95140635",
        "latency_in_range": "61d1e41ea739c938",
        "grounded_figures": "a4a72a5d753f55fb",
    }
    assert {name: built[name].key.fingerprint for name in stored} == stored
    assert built["valid_json"].key.former_fingerprint == "c7151eb299c30974"


def test_settings_that_are_as_by_default_make_no_new_identity() -> None:
    assert build(ScoringSection())["valid_json"].key.spec["settings"] == {}
