"""Everything that changes what a scorer measures starts a new series, and nothing else does.

Each setting, each field of a rubric's front matter and each option of a judge stands in a table here, with what it does
to the series. A new one without an entry fails: whoever adds it decides, and says why.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import yaml
from pydantic import BaseModel

from worker.core.rubric.parse import parse
from worker.core.rubric.schema import FrontMatter
from worker.project.scorers import ScorerSet
from worker.scorers.registry import BUILT_IN
from worker.scorers.rubric.files import shipped_prompts
from worker.scorers.rubric.identity import JudgeOptions, options_of, scorer_key
from worker.settings import Settings
from worker.settings.section import Section
from worker.store.engine import Store

JUDGE = {"SPOTCHECK_JUDGE_MODEL": "judge-a", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
RUBRIC = "task_completion"


class Case(NamedTuple):
    """A setting with another value than usual."""

    toml: str = ""
    environ: Mapping[str, str] = {}
    starts: frozenset[str] = frozenset()
    """Scorers whose series changes."""
    because: str = ""
    """Why none does."""


def changes(toml: str = "", *names: str, **environ: str) -> Case:
    return Case(toml, environ, frozenset(names))


def same(because: str, toml: str = "", **environ: str) -> Case:
    return Case(toml, environ, because=because)


_ADDRESS = "an address or a key: where something is, not what is measured"
_DRAW = "which runs are drawn; means are weighted by the stored probabilities"
_PACE = "how fast, how often and at what price the same question is asked"
_MONEY = "how many runs are scored; what is shed is a random rest"
_TOLD = "what is told of the scores, not the scores"
_STREAM = "which stream or night a run belongs to, not what its score is"
_INTAKE = (
    "cuts the stored run, whose record says so (`content`, `result_size`); what was cut is unscored where it matters"
)
_CHOICE = "chooses scorers; those chosen keep their series"

SETTINGS: Mapping[str, Case] = {
    "database_url": same(_ADDRESS, SPOTCHECK_DATABASE_URL="sqlite:///other.db"),
    "broker_url": same(_ADDRESS, SPOTCHECK_BROKER_URL="memory://"),
    "prompts": same("the folder; the text of the rubric in it counts, wherever it lies", SPOTCHECK_PROMPTS="copied"),
    "webhook_url": same(_ADDRESS, SPOTCHECK_WEBHOOK_URL="https://example.org/x"),
    "slack_url": same(_ADDRESS, SPOTCHECK_SLACK_URL="https://example.org/x"),
    "webhook_secret": same(_ADDRESS, SPOTCHECK_WEBHOOK_SECRET="whsec_c2VjcmV0c2VjcmV0c2VjcmV0"),
    "openai_api_key": same(_ADDRESS, OPENAI_API_KEY="sk-other"),
    "settle_s": same("when a run counts as ended", SPOTCHECK_SETTLE_S="60"),
    "log": same(_TOLD, SPOTCHECK_LOG="json"),
    "clock": same("the time of a rehearsal", SPOTCHECK_CLOCK="2026-09-01T00:00:00Z@2026-11-30T10:00:00Z x60"),
    "sampling.rate": same(_DRAW, "[sampling]\nrate = 0.9"),
    "sampling.flagged_rate": same(_DRAW, "[sampling]\nflagged_rate = 0.9"),
    "sampling.floor_per_night": same(_DRAW, "[sampling]\nfloor_per_night = 9"),
    "sampling.lookback_nights": same(_DRAW, "[sampling]\nlookback_nights = 9"),
    "sampling.task_types.*.rate": same(_DRAW, "[sampling.task_types.refund]\nrate = 0.9"),
    "sampling.task_types.*.flagged_rate": same(_DRAW, "[sampling.task_types.refund]\nflagged_rate = 0.9"),
    "sampling.task_types.*.floor_per_night": same(_DRAW, "[sampling.task_types.refund]\nfloor_per_night = 9"),
    "scoring.heuristics": same(_CHOICE, '[scoring]\nheuristics = ["completed"]'),
    "scoring.rubrics": same(_CHOICE, '[scoring]\nrubrics = ["tool_use", "task_completion"]'),
    "scoring.max_attempts": same(_PACE, "[scoring]\nmax_attempts = 2"),
    "scoring.lease_s": same(_PACE, "[scoring]\nlease_s = 20"),
    "scoring.redact": changes("[scoring]\nredact = false", RUBRIC),
    "scoring.schemas": changes("[scoring.schemas.refund]\ntype = 'object'", "valid_json"),
    "scoring.custom": same(_CHOICE + "; their code or declared version, not the path, is theirs"),
    "scoring.settings": changes("[scoring.settings.length]\nmost = 3", "length"),
    "judge.model": changes("", RUBRIC, SPOTCHECK_JUDGE_MODEL="judge-b"),
    "judge.base_url": same(_ADDRESS + "; two models must not have one name", OPENAI_BASE_URL="http://127.0.0.2:1/v1"),
    "judge.concurrency": same(_PACE, SPOTCHECK_JUDGE_CONCURRENCY="3"),
    "judge.timeout_s": same(_PACE, "[judge]\ntimeout_s = 3"),
    "judge.answers_days": same(
        "a kept answer is one that this judge gave to this very question", "[judge]\nanswers_days = 0"
    ),
    "judge.budget_usd_per_day": same(_MONEY, "[judge]\nbudget_usd_per_day = 1"),
    "judge.budget_usd_per_month": same(_MONEY, "[judge]\nbudget_usd_per_month = 1"),
    "judge.backfill_usd_per_day": same(_MONEY, "[judge]\nbackfill_usd_per_day = 1"),
    "judge.budgets.*.usd_per_day": same(_MONEY, "[judge.budgets.task_completion]\nusd_per_day = 1"),
    "judge.budgets.*.usd_per_month": same(_MONEY, "[judge.budgets.task_completion]\nusd_per_month = 1"),
    "judge.quota.requests_per_minute": same(_PACE, "[judge.quota]\nrequests_per_minute = 9"),
    "judge.quota.tokens_per_minute": same(_PACE, "[judge.quota]\ntokens_per_minute = 9"),
    "judge.quota.models.*.requests_per_minute": same(_PACE, "[judge.quota.models.judge-a]\nrequests_per_minute = 9"),
    "judge.quota.models.*.tokens_per_minute": same(_PACE, "[judge.quota.models.judge-a]\ntokens_per_minute = 9"),
    "judge.repair": changes("[judge]\nrepair = true", RUBRIC),
    "judge.unknown_price": same(_MONEY, "[judge]\nunknown_price = 'refuse'"),
    "judge.prices.*.input_usd_per_mtok": same(
        _MONEY, "[judge.prices.judge-a]\ninput_usd_per_mtok = 9\noutput_usd_per_mtok = 1"
    ),
    "judge.prices.*.output_usd_per_mtok": same(
        _MONEY, "[judge.prices.judge-a]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 9"
    ),
    "judge.prices.*.cached_input_usd_per_mtok": same(
        _MONEY, "[judge.prices.judge-a]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 9\ncached_input_usd_per_mtok = 1"
    ),
    "judge.tier_prices": same(_MONEY, "[judge.tier_prices]\nflex = 0.1"),
    "judge.lane": same(
        "the same question to the same model; when it is asked, and for how much", "[judge]\nlane = 'batch'"
    ),
    "judge.backfill_lane": same("as `lane`", "[judge]\nbackfill_lane = 'batch'"),
    "judge.lanes": same("as `lane`", "[judge.lanes]\ntask_completion = 'batch'"),
    "judge.batch.deadline_h": same(_PACE, "[judge.batch]\ndeadline_h = 1"),
    "judge.batch.gather_s": same(_PACE, "[judge.batch]\ngather_s = 1"),
    "judge.batch.max_jobs": same(_PACE, "[judge.batch]\nmax_jobs = 1"),
    "judge.batch.max_bytes": same(_PACE, "[judge.batch]\nmax_bytes = 100000"),
    "judge.batch.poll_s": same(_PACE, "[judge.batch]\npoll_s = 1"),
    "schedule.at": same("when a night is drawn", "[schedule]\nat = '03:00'"),
    "schedule.time_zone": same(_STREAM, "[schedule]\ntime_zone = 'Europe/Berlin'"),
    "alerts.false_alarms_per_year": same(_TOLD, "[alerts]\nfalse_alarms_per_year = 9"),
    "alerts.run_cost_usd": same(_TOLD, "[alerts]\nrun_cost_usd = 9"),
    "alerts.agent_daily_spend_usd": same(_TOLD, "[alerts]\nagent_daily_spend_usd = 9"),
    "alerts.send": same(_TOLD, "[alerts]\nsend = 'now'"),
    "task_type.rules": same(_STREAM, "[task_type]\nrules = ['agent']"),
    "task_type.default": same(_STREAM, "[task_type]\ndefault = 'other'"),
    "intake.max_line_bytes": same(_INTAKE, "[intake]\nmax_line_bytes = 1000"),
    "intake.max_text_chars": same(_INTAKE, "[intake]\nmax_text_chars = 1000"),
    "intake.max_result_chars": same(_INTAKE, "[intake]\nmax_result_chars = 1000"),
    "intake.max_steps": same(_INTAKE, "[intake]\nmax_steps = 10"),
    "store.traces_days": same("how long texts are kept; never pruned while undecided", "[store]\ntraces_days = 9"),
    "metrics.listen": same(_ADDRESS, SPOTCHECK_METRICS="127.0.0.1:9"),
}
CUSTOM = """\
from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    most: int = 200


def length(settings: Length):
    return lambda run: len(run.output or "") <= settings.most
"""
"""A scorer of one's own, with a setting."""


def leaves(kind: type[BaseModel], section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field of a model and of the models in it, `*` for those in lists and under names; only the innermost."""
    for name, field in kind.model_fields.items():
        own = f"{prefix}{field.alias or name}"
        below = next(_models(field.annotation, section), None)
        if below is None:
            yield own
        else:
            is_one = isinstance(field.annotation, type) or type(None) in get_args(field.annotation)
            star = "" if is_one else "*."
            yield from leaves(below, section, f"{own}.{star}")


def _models(annotation: object, section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, section):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner, section)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scorer of one's own, and a copy of a shipped rubric."""
    (tmp_path / "own_checks_of_series.py").write_text(CUSTOM)
    shutil.copytree(shipped_prompts(), tmp_path / "copied")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def series(store: Store, environ: Mapping[str, str], toml: str) -> dict[str, str]:
    """Fingerprints of the scorers that a first draw would enrol under some settings, by name."""
    own = '[scoring.custom]\nlength = "own_checks_of_series:length"\n'
    settings = Settings.read({**JUDGE, **environ}, f"{toml}\n{own}")
    scorers = ScorerSet(settings, store, lambda: b"s").all
    return {scorer.key.name: scorer.key.fingerprint for scorer in scorers}


def test_no_setting_is_left_out() -> None:
    assert sorted(SETTINGS) == sorted(leaves(Settings, Section)), "say in SETTINGS what the new setting does to series"
    assert all(case.starts or case.because for case in SETTINGS.values())


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_starts_the_series_that_it_changes_and_no_other(name: str, beside: Path, fresh: Store) -> None:
    case = SETTINGS[name]
    usual, other = series(fresh, {}, ""), series(fresh, case.environ, case.toml)
    moved = {scorer for scorer in usual.keys() & other.keys() if usual[scorer] != other[scorer]}
    assert moved == case.starts
    assert set(usual) == {*BUILT_IN, RUBRIC, "length"}


FRONT: Mapping[str, Any] = {
    "name": "other_name",
    "version": "1.0.1",
    "description": "Another.",
    "owner": "somebody",
    "applies_to.task_types": ["refund"],
    "applies_to.statuses": ["completed", "errored"],
    "applies_to.agents": ["bot"],
    "needs": ["run.output"],
    "scale": None,  # with its levels, below
    "mode": "per_criterion",
    "criteria.*.id": "other",
    "criteria.*.question": "Another?",
    "criteria.*.weight": 2.0,
    "criteria.*.required": True,
    "criteria.*.pass_when": "Another thing holds.",
    "criteria.*.levels.*.label": None,
    "criteria.*.levels.*.when": None,
    "aggregate.method": "weighted_mean",
    "aggregate.required_fail": "fail",
    "aggregate.unknown": "exclude",
    "pass.threshold": 0.9,
    "pass.on": "value",
    "judge.backend": "responses",
    "judge.model": "judge-b",
    "judge.params": {"temperature": 0.5},
    "judge.max_output_tokens": 900,
    "judge.service_tier": "flex",
    "judge.probabilities": True,
    "judge.repair": True,
    "judge.samples": 3,
    "judge.escalate.when": ["unknown"],
    "judge.escalate.to": "judge-c",
    "judge.escalate.below": 0.9,
    "trace.budget_tokens": 900,
    "trace.keep": ["errors"],
    "examples.file": "runs.jsonl",
    "examples.split": "train",
    "examples.max": 2,
    "tests.min_kappa": 0.5,
    "tests.max_asr": 0.5,
    "tests.min_labels": 5,
}
"""Another value of each field. All of them change the series, since the file's text is hashed with what it includes:
also those that no judge is told, as a text has one identity (`rubric list` shows its hash)."""
PLAIN: Mapping[str, Any] = {
    "name": "demo",
    "version": "1.0.0",
    "criteria": [{"id": "one", "question": "One?", "pass_when": "It holds."}],
}
BODY = '{% chat role="user" %}{{ run | fenced }}{% for c in criteria %}{{ c.id }}{% endfor %} Decide.{% endchat %}\n'
NEEDED = {"judge.escalate.when": {"to": "judge-c"}, "judge.escalate.to": {"when": ["unknown"]}}
NEEDED |= {"judge.escalate.below": {"to": "judge-c", "when": ["unknown"]}}
NEEDED |= {name: {"file": "runs.jsonl"} for name in ("examples.split", "examples.max")}


def with_field(path: str, value: object) -> dict[str, Any]:
    """Front matter with one field given, and those that it cannot be without."""
    front: dict[str, Any] = yaml.safe_load(yaml.safe_dump(dict(PLAIN)))
    *tables, last = path.split(".")
    at: Any = front
    for table in tables:
        at = at[0] if table == "*" else at.setdefault(table, {})
    at |= NEEDED.get(path, {})
    at[last] = value
    return front


def fingerprint(front: Mapping[str, Any], body: str = BODY) -> str:
    rubric = parse(f"---\n{yaml.safe_dump(dict(front))}---\n{body}", "x")
    return scorer_key(rubric, options_of(rubric, "judge-a")).fingerprint


def test_no_field_of_the_front_matter_is_left_out() -> None:
    assert sorted(FRONT) == sorted(leaves(FrontMatter, BaseModel)), "give the new field another value in FRONT"


@pytest.mark.parametrize("path", [path for path, value in FRONT.items() if value is not None])
def test_every_field_of_the_front_matter_changes_the_series(path: str) -> None:
    assert fingerprint(with_field(path, FRONT[path])) != fingerprint(PLAIN)


def test_the_scale_its_levels_and_the_body_change_the_series() -> None:
    levels = [{"label": word, "when": f"It is {word}."} for word in ("bad", "fair", "good")]
    ordinal = with_field("scale", "ordinal") | {"criteria": [{"id": "one", "question": "One?", "levels": levels}]}
    other = [levels[0], {"label": "fair", "when": "Another anchor."}, levels[2]]
    third = [levels[0], {"label": "middling", "when": "It is fair."}, levels[2]]
    fronts = [PLAIN, ordinal]
    fronts += [ordinal | {"criteria": [{"id": "one", "question": "One?", "levels": each}]} for each in (other, third)]
    prints = [fingerprint(front) for front in fronts] + [fingerprint(PLAIN, BODY.replace("Decide", "Choose"))]
    assert len(set(prints)) == len(prints)


OPTIONS: Mapping[str, Any] = {
    "model": "judge-b",
    "params": {"seed": 1},
    "redact": False,
    "repair": True,
    "is_routed": None,  # `prompt_cache_key` decides which machine answers, not what it is asked
    "escalate": None,  # from the front matter, above
}


def test_every_option_of_a_judge_changes_the_series_but_the_routing() -> None:
    assert set(OPTIONS) == set(JudgeOptions._fields), "say in OPTIONS what the new option does to series"
    rubric = parse(f"---\n{yaml.safe_dump(dict(PLAIN))}---\n{BODY}", "x")
    usual = options_of(rubric, "judge-a")
    others = [usual._replace(**{name: value}) for name, value in OPTIONS.items() if value is not None]
    assert len({scorer_key(rubric, one).fingerprint for one in (usual, *others)}) == 1 + len(others)
    assert scorer_key(rubric, usual._replace(is_routed=True)) == scorer_key(rubric, usual)
