"""Rules that scorers share have a version in their fingerprints, and a version always measures the same.

Where a hash here differs, a rule has changed: raise its version and write the new hash beside the old one, so that what
the changed rule measures starts a new series instead of passing for a changed agent.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import shared_data
from tests.support.rubric_scorers import RUN, a_rubric, a_scorer
from worker.core import sampling
from worker.core.judging import digest, precheck, redact, verdict
from worker.core.sampling import reference
from worker.pipeline import draw
from worker.records import Judging, Reply, Run
from worker.scorers.protocol import Context
from worker.scorers.registry import build
from worker.scorers.rubric.questions import Prepared
from worker.scorers.rules import changed_rules
from worker.settings.sections_sampling import ScoringSection


def runs() -> list[Run]:
    """The made-up runs, their person's words as steps of kind `other`."""
    made = []
    for row in shared_data.rows("made up", "runs"):
        steps = []
        for step in row["steps"]:
            kind = step["kind"] if step["kind"] in ("tool", "model") else "other"
            steps.append({**step, "kind": kind, "name": step["name"] or step["kind"]})
        known = {name: row[name] for name in ("run_id", "agent", "task_type", "status", "input", "output", "cost_usd")}
        ended_at = datetime(2026, 11, 2, tzinfo=UTC)
        made.append(Run(**known, latency_ms=row["duration_ms"], ended_at=ended_at, steps=steps, content="full"))
    return made


def hashed(results: object) -> str:
    """16 hex of the results; the last digits of a logarithm differ from machine to machine and do not count."""
    rounded = json.loads(json.dumps(results, default=str), parse_float=lambda digits: round(float(digits), 9))
    return hashlib.sha256(json.dumps(rounded, sort_keys=True).encode()).hexdigest()[:16]


SECRETS = [
    *("sk-proj-abcdefgh12345678", "ghp_abcdefghijklmnopqrst1234", "AKIAABCDEFGHIJKLMNOP", "hf_abcdefghijklmnopqrstuv"),
    *("password: hunter2hunter2", "Authorization: Bearer abcdefghijkl", "https://ann:secret@example.org/x"),
    *(
        "mail ann.lee+x@example.co.uk and ann.lee+x@example.co.uk",
        "card 4111 1111 1111 1111",
        "call 4111 1111 1111 1112",
    ),
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefgh",
    *("no secret at all", "order 4711, 2026-11-02, +49 30 1234567"),
]
NO_ANSWERS = [
    *(
        "",
        " ",
        "...",
        "**",
        "Sure!",
        "Let me think about this step by step:",
        "Here is the solution:",
        "TERMINATE",
        "</s>",
    ),
    *(
        "Yes.",
        "Paris",
        "42",
        "Please refund order 4711.",
        "Please refund order",
        "解答:",
        "<think>hm</think>",
        "I will check.",
    ),
    "I have refunded order 4711; the money arrives in three days.",
]
REPLIES: Sequence[Mapping[str, Any]] = [
    *({"content": ""}, {"content": "not json"}, {"content": "[]"}, {"finish_reason": "length"}),
    *({"refusal": "I cannot."}, {"finish_reason": "content_filter"}),
    {"probabilities": {"one": {"pass": 0.7, "fail": 0.2, "unknown": 0.1}, "two": {"pass": 0.4, "fail": 0.6}}},
    {},
]


def redaction() -> object:
    patterns = [
        (kind, hints, pattern.pattern, pattern.flags, group) for kind, hints, pattern, group in redact._PATTERNS
    ]
    return patterns, [redact.redact(text) for text in SECRETS], redact.redact_document({"a": SECRETS, "b": SECRETS[-3]})


def precheck_rules() -> object:
    asked = "Please refund order 4711."
    own = [precheck.answer_problem(asked, said) for said in NO_ANSWERS]
    return own, [precheck.answer_problem(run.input, run.output) for run in runs()]


def reading() -> object:
    """What replies are worth to a rubric: verdicts, evidence found or not, and the aggregate; one sample and three."""
    told = []
    for samples in ("", "samples: 3, "):
        scorer = a_scorer(
            a_rubric(
                text=a_rubric().source.replace("judge: {", f"judge: {{{samples}").replace("{", "{{").replace("}", "}}")
            )
        )
        prepared = scorer.prepare(RUN.for_scorer())
        assert isinstance(prepared, Prepared)
        words = itertools.product(("pass", "fail", "unknown", "good"), ("pass", "fail", "unknown"))
        for (one, two), quote, over in itertools.product(
            words, ("issue_refund", "order [...] 4411", "never said"), REPLIES
        ):
            said = {
                name: {"evidence": [{"step": 0, "quote": quote}], "reason": "r", "verdict": word}
                for name, word in (("one", one), ("two", two))
            }
            given = {
                "content": json.dumps(said),
                "finish_reason": "stop",
                "judging": Judging(model_requested="m"),
            } | over
            replies = [Reply(**given)] * len(prepared.questions)
            told += [outcome.model_dump() for outcome in scorer.reader.read(prepared, replies).outcomes]
    return told


def usual() -> object:
    costs = [0.01 * (1 + place % 7) for place in range(40)]
    few = [None, *costs[:19]]
    made = [reference(each, [float(place % 5) for place in range(40)], [None] * 3) for each in (costs, few, [0.5] * 25)]
    return draw.REFERENCE_NIGHTS, draw._MOST_FOR_REFERENCE, [tuple(one) for one in made]


def shown() -> object:
    """What a judge is shown of the runs, and how its prompt is laid out."""
    builder = a_scorer(a_rubric()).builder
    asked = [builder.questions(run.for_scorer()) for run in (*runs(), RUN)]
    return [list(question.messages) for (question,) in asked]


Measure = Callable[[], object]
RULES: Mapping[str, tuple[Any, str, Measure, Mapping[str, str]]] = {
    "digest": (digest, "DIGEST_VERSION", shown, {"1": "7e00fab9b44b177a"}),
    "redaction": (redact, "REDACTION_VERSION", redaction, {"1": "a0cea912e253ef8b"}),
    "precheck": (precheck, "PRECHECK_VERSION", precheck_rules, {"1": "b5efbee5af73307f"}),
    "reading": (verdict, "READING_VERSION", reading, {"1": "0a0b3024b5e65350"}),
    "reference": (sampling, "REFERENCE_VERSION", usual, {"1": "04ef7f8a8d6e3b44"}),
}
"""The module and name of the version, what the rule gives here, and the hash of that by version."""


@pytest.mark.parametrize("rule", RULES)
def test_a_version_of_a_rule_always_measures_the_same(rule: str) -> None:
    module, name, measure, hashes = RULES[rule]
    found = hashed(measure())
    assert found == hashes[getattr(module, name)], f"raise {name} in {module.__name__}, and write {found} beside it"


def keys() -> dict[str, str]:
    """Fingerprints of the built-in heuristics and of rubrics that use rules or do not."""
    found = {name: scorer.key.fingerprint for name, scorer in build(ScoringSection()).items()}
    found["rubric"] = a_scorer(a_rubric()).key.fingerprint
    found["rubric without redaction"] = a_scorer(a_rubric(), redact=False).key.fingerprint
    found["rubric of steps"] = a_scorer(a_rubric(needs="run.input, run.steps")).key.fingerprint
    return found


RUBRICS = {"rubric", "rubric without redaction", "rubric of steps"}


@pytest.mark.parametrize(
    ("rule", "concerned"),
    [
        ("redaction", RUBRICS - {"rubric without redaction"}),
        ("precheck", {"answer_present", *RUBRICS} - {"rubric of steps"}),
        ("reading", RUBRICS),
        ("reference", {"steps_in_range", "cost_in_range", "latency_in_range"}),
    ],
)
def test_a_raised_version_starts_a_new_series_of_those_who_apply_the_rule(
    rule: str, concerned: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys()
    module, name, *_ = RULES[rule]
    monkeypatch.setattr(module, name, "2")
    after = keys()
    assert {scorer for scorer in before if before[scorer] != after[scorer]} == concerned
    assert changed_rules("redaction", "precheck", "reading", "reference") == {f"{rule}_version": "2"}


SERIES: Mapping[str, str] = {
    "answer_present": "1+5029ae50",
    "completed": "1+8fae1f5d",
    "tool_success": "1+e6feb3b8",
    "no_repeats": "1+e3e90bdb",
    "steps_in_range": "1+ac2e9f98",
    "cost_in_range": "1+1e3dbefb",
    "latency_in_range": "1+61d1e41e",
    "grounded_figures": "1+a4a72a5d",
    "valid_json": "1+6b6ed2ba",
}
"""Of the built-in heuristics that were released."""


def test_the_built_in_heuristics_keep_the_identity_under_which_users_have_scores() -> None:
    """A changed fingerprint starts a new series for everybody; here is where one that is meant is written down."""
    found = {name: scorer.key.series for name, scorer in build(ScoringSection()).items()}
    assert {name: found.get(name) for name in SERIES} == SERIES


MEASURED: Mapping[str, str] = {
    "answer_present 1": "7445d4677be6d034",
    "completed 1": "e241cf962fd3257e",
    "tool_success 1": "ec1b28e75817cbc5",
    "no_repeats 1": "2665dc1c543b0184",
    "steps_in_range 1": "547856b655112243",
    "cost_in_range 1": "1816ec1582ea5ace",
    "latency_in_range 1": "5b67ff8e14c62049",
    "grounded_figures 1": "e0da1d83fc965613",
    "valid_json 1": "acc9a5a3f9733fbc",
}
"""Hash of what each of them gives here, by name and version."""


def telling_runs() -> list[Run]:
    """Runs that tell one rule of a heuristic from another: steps, costs, seconds, answers, statuses of many kinds."""
    (step,) = RUN.steps
    calls = [[step] * 3, [], [step.model_copy(update={"seq": seq, "name": f"t{seq}"}) for seq in range(9)]]
    calls.append([step.model_copy(update={"error": "timeout"}), step.model_copy(update={"result": "Error: no"}), step])
    made = [RUN.model_copy(update={"steps": tuple(each)}) for each in calls]
    made += [RUN.model_copy(update={"cost_usd": usd, "latency_ms": 1e6 * usd}) for usd in (0.001, 0.02, 0.03, 1.0)]
    made += [RUN.model_copy(update={"status": status}) for status in ("aborted", "errored", "incomplete")]
    answers = [*NO_ANSWERS, '{"hours": 1}', "{}", '```json\n{"hours": 2}\n```', "12 of 4411 on 2026-11-02, 99 %"]
    made += [RUN.model_copy(update={"output": said, "task_type": "booking"}) for said in answers]
    return [*runs(), RUN, *made]


def test_a_version_of_a_built_in_heuristic_always_measures_the_same() -> None:
    schema = {"type": "object", "required": ["hours"]}
    scorers = build(ScoringSection(schemas={"booking": schema}))
    known = Context(reference=reference([0.004] * 20, [2.0] * 20, [4000.0] * 20))
    found = {}
    for name, scorer in scorers.items():
        outcomes = [scorer.evaluate(run, known) for run in telling_runs()]
        if name in SERIES:
            assert len({outcome.value for outcome in outcomes}) > 1, "these runs would not tell a change of it"
        found[f"{name} {scorer.version}"] = hashed([(outcome.value, outcome.reason) for outcome in outcomes])
    told = {name: found.get(name) for name in MEASURED}
    assert told == MEASURED, "raise the version of the heuristic whose hash differs, and write the new one here"
