"""The `--json` answers have the shapes that DESIGN §6 promises, on a project with real scores behind it."""

from typing import Any

import jsonschema
import pytest

from tests.support.scored_project import ScoredProject
from worker.records import Run

NIGHT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}
WEEK = {"type": "string", "pattern": r"^\d{4}-W\d\d$"}
AT = {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"}
TEXT = {"type": "string", "minLength": 1}
TEXT_OR_NULL = {"type": ["string", "null"]}
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "number"}
UNIT = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
USD = {"type": ["number", "null"], "minimum": 0}
TERMS = ("ended", "filtered", "before_start", "sampled_out", "scored", "unscored", "failed", "shed", "pending")


def shape(**fields: object) -> dict[str, Any]:
    return {"type": "object", "required": list(fields), "properties": fields}


def some(item: object) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


POINT = shape(
    week=WEEK,
    task_type=TEXT_OR_NULL,
    scorer=TEXT,
    criterion=TEXT_OR_NULL,
    scorer_version=TEXT,
    population=COUNT,
    sampled=COUNT,
    scored=COUNT,
    unscored=COUNT,
    coverage=UNIT,
    mean=UNIT,
    low=UNIT,
    high=UNIT,
)
STREAM = shape(task_type=TEXT_OR_NULL, scorer=TEXT, scorer_version=TEXT, criterion=TEXT_OR_NULL)
FINDING = shape(
    stream=STREAM,
    kind={"enum": ["agent", "judge", "mix", "errors", "cost", "tool", "steps"]},
    direction={"enum": ["down", "up"]},
    before=NUMBER,
    after=NUMBER,
    window_nights={"type": "integer", "minimum": 1},
    scored=COUNT,
    z=NUMBER,
    chance_per_year={"type": "number", "exclusiveMinimum": 0},
    since=NIGHT,
)
WAITING = shape(due=COUNT, later=COUNT, leased=COUNT, oldest_at=AT, next_at=AT)
SPENT = {"spent_usd": NUMBER, "reserved_usd": NUMBER, "presumed_usd": NUMBER}
MODEL_NOW = shape(
    model=TEXT,
    server=TEXT_OR_NULL,
    processes=COUNT,
    calls_per_s=NUMBER,
    refused=UNIT,
    failed=UNIT,
    in_flight=COUNT,
    waiting=COUNT,
    limit=COUNT,
    starts_per_s={"type": ["number", "null"]},
    latency_s={"type": ["number", "null"]},
    queue=WAITING,
    spent=shape(**SPENT),
    trouble=TEXT_OR_NULL,
    trouble_at=AT,
    resumes_at=AT,
)
SHAPES = {
    "trends": shape(points=some(POINT)),
    "status": shape(
        scorers=some(shape(scorer=TEXT, night=NIGHT, **dict.fromkeys(TERMS, COUNT))),
        totals=shape(**dict.fromkeys(TERMS, COUNT)),
        at=AT,
        queue=shape(heuristic=WAITING, judge=WAITING),
        workers={"type": "array"},
        spend_usd=NUMBER,
        reserved_usd=NUMBER,
        judge=shape(is_configured={"const": True}, models=some(MODEL_NOW)),
        batches={"type": "array"},
        spend=shape(
            day=NIGHT,
            **SPENT,
            cap_usd=USD,
            month=shape(**SPENT, cap_usd=USD),
            by_scorer=some(shape(scorer=TEXT_OR_NULL, scorer_version=TEXT_OR_NULL, model=TEXT_OR_NULL, **SPENT)),
        ),
    ),
    "drift": shape(findings=some(FINDING)),
    "rubric list": shape(
        rubrics=some(
            shape(
                name=TEXT,
                version=TEXT,
                hash={"type": "string", "pattern": "^[0-9a-f]{12}$"},
                series={"type": "string", "pattern": r"\+[0-9a-f]{8}$"},
                model=TEXT_OR_NULL,
            )
        )
    ),
    "runs": shape(runs=some(shape(run_id=TEXT, task_type=TEXT, status=TEXT, night=NIGHT, ended_at=AT))),
    "rubric preview task_completion --run refund-41-0": shape(
        messages=some(shape(role={"enum": ["system", "user", "assistant"]}, content=TEXT)), tokens={"type": "object"}
    ),
    "explain refund-41-0": shape(
        run_id={"const": "refund-41-0"},
        decisions=some(shape(scorer=TEXT_OR_NULL, state=TEXT, reason={"type": "string"}, at=AT)),
    ),
    "sample --dry-run --since {first}": shape(
        window=shape(since=NIGHT, until=NIGHT),
        strata=some(
            shape(
                night=NIGHT,
                task_type=TEXT,
                flagged={"type": "boolean"},
                population=COUNT,
                sampled=COUNT,
                inclusion_probability={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            )
        ),
        estimated_cost_usd=USD,
        estimated_cost_at_once_usd=USD,
        estimated_cost_in_batches_usd=USD,
    ),
    "settings": shape(settings=some(shape(name=TEXT, value={"type": "string"}, source=TEXT, help=TEXT))),
    "db check": shape(database=TEXT, state={"const": "current"}, head=TEXT),
    "rubric lint": shape(findings={"type": "array"}, rubrics=COUNT),
    "score": shape(open=COUNT),
    "nightly --date {newest}": shape(nights=some(NIGHT), population=COUNT, sampled=COUNT, open=COUNT),
    "ingest runs.jsonl": shape(
        accepted=COUNT, revised=COUNT, duplicate=COUNT, rejected=COUNT, rejected_files={}, reasons={}, notices={}
    ),
}


@pytest.mark.parametrize("command", SHAPES)
def test_the_json_answer_of_a_command_has_its_documented_shape(world: ScoredProject, command: str) -> None:
    words = command.format(first=world.first, newest=world.newest).split()
    said = world.shell(*words, "--json")
    assert said.code == 0, said
    jsonschema.Draft202012Validator(SHAPES[command]).validate(said.json)


def test_show_gives_the_run_record_itself(world: ScoredProject) -> None:
    said = world.shell("show", "refund-41-0", "--json")
    run = Run.model_validate_json(said.out)
    assert (run.run_id, run.output, run.agent_version) == ("refund-41-0", "", "2.0")
    assert run.steps[0].error == "refused"
    assert said.err == ""


def test_the_terms_of_every_night_and_scorer_add_up_to_its_ended_runs(world: ScoredProject) -> None:
    answer = world.shell("status", "--since", world.first, "--json").json
    for row in [*answer["scorers"], answer["totals"]]:
        assert row["ended"] == sum(row[term] for term in TERMS if term != "ended")
    assert answer["totals"] == {term: sum(row[term] for row in answer["scorers"]) for term in TERMS}
    assert answer["reconciles"] is True
    assert answer["totals"]["scored"] > 0
    assert answer["spend_usd"] > 0


def test_trends_end_with_the_newest_week_and_carry_an_interval_for_every_mean(world: ScoredProject) -> None:
    points = world.shell("trends", "--json").json["points"]
    assert {point["task_type"] for point in points} == {None, "refund", "faq"}
    for point in points:
        assert (point["mean"] is None) == (point["low"] is None) == (point["high"] is None) == (point["scored"] == 0)
        if point["mean"] is not None:
            assert point["low"] <= point["mean"] <= point["high"]
        assert point["scored"] + point["unscored"] == point["sampled"] <= point["population"]


def test_the_break_of_the_refunds_is_the_finding(world: ScoredProject) -> None:
    found = world.shell("drift", "--json").json["findings"]
    assert {(finding["kind"], finding["direction"]) for finding in found} == {("agent", "down"), ("tool", "up")}
    assert any(finding["stream"]["task_type"] == "refund" for finding in found)
    assert {finding["stream"]["scorer"] for finding in found if finding["kind"] == "tool"} == {"tool_failure:look_up"}
    assert not any(finding["stream"]["task_type"] == "faq" for finding in found)


def test_explain_tells_of_every_scorer_in_force(world: ScoredProject) -> None:
    decisions = world.shell("explain", "refund-41-0", "--json").json["decisions"]
    states = {decision["scorer"]: decision["state"] for decision in decisions}
    assert decisions[0]["state"] == "taken"
    if "sampled_out" not in states.values():
        assert {name for name in states if name} == {"answer_present", "tool_success", "task_completion"}


def test_dry_runs_change_nothing_and_several_nights_give_a_row_each(world: ScoredProject) -> None:
    before = world.shell("status", "--json").json
    strata = world.shell("sample", "--dry-run", "--since", world.first, "--json").json["strata"]
    assert len({row["night"] for row in strata}) == 42
    assert world.shell("status", "--json").json["totals"] == before["totals"]
