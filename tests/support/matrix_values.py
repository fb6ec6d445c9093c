"""What the command matrix gives to each parameter, and what it expects; a new parameter needs a line here.

`SAMPLES` holds values by `command.parameter`, or by the parameter's name where several commands mean the same by it;
flags and choices need none. `EXPECTED` says where the exit code is not 0. `OWN_WAY` lists what is not run by the matrix
itself, each with the test that runs it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.support.matrix import Given, Parameter
from worker.connectors.sources import registry

PROJECTS = ("empty", "small", "large")
READS, WRITES = "reads", "writes"
COMMANDS: Mapping[str, str] = {
    "init": WRITES,
    "ingest": WRITES,
    "sample": WRITES,
    "score": WRITES,
    "nightly": WRITES,
    "backfill": WRITES,
    "trends": READS,
    "drift": READS,
    "alerts": READS,
    "report": READS,
    "runs": READS,
    "show": READS,
    "explain": READS,
    "status": READS,
    "health": READS,
    "settings": READS,
    "rubric list": READS,
    "rubric lint": READS,
    "rubric preview": READS,
    "rubric show": READS,
    "rubric promote": WRITES,
    "schema run": READS,
    "db upgrade": WRITES,
    "db check": READS,
}
"""Whether a command changes the database, so that each row of it gets a fresh copy; and see `CHANGES`."""
CHANGES = {"drift": ("acknowledge", "mute", "accept"), "alerts": ("acknowledge", "mute", "resolve", "send")}
"""Parameters with which a command that reads decides something."""
OWN_WAY: Mapping[str, str] = {
    "": "test_the_roots_own_options",
    "demo": "test_the_demo_in_a_folder_of_its_own",
    "up": "test_a_process_serves_until_it_is_told_to_stop",
    "worker": "test_a_process_serves_until_it_is_told_to_stop",
    "beat": "test_a_process_serves_until_it_is_told_to_stop",
    "status.watch": "test_status_watches_until_it_is_interrupted",
    "status.interval": "test_status_watches_until_it_is_interrupted",
}
"""Commands that serve for ever or make a project of their own, and options that make one do so; each with its test in
`tests/stories/test_commands_that_serve.py`."""

SAMPLES: Mapping[str, Sequence[str]] = {
    "since": ("2026-10-20", "2031-01-04", "soon"),
    "until": ("2026-10-25", "2019-12-31"),
    "task_type": ("refund", "odd\ntype", "=1+1", "nosuch"),
    "source": ("shop", "mirror", "nosuch"),
    "limit": ("1", "10000", "0"),
    "nights": ("1", "365"),
    "init.folder": ("made", "."),
    "ingest.paths": ("good.jsonl", "-", "mixed.jsonl", "bad.jsonl", "nothing.jsonl", "nosuch.jsonl"),
    "ingest.form": (*registry.formats().replace(" or ", ", ").split(", "), "jsnol"),
    "sample.rate": ("0", "1", "2"),
    "nightly.on": ("2026-10-25", "2031-01-04", "soon"),
    "backfill.scorer": ("task_completion", "answer_present", "nosuch"),
    "score.run": ("r-1", "twice", "nosuch"),
    "score.scorer": ("answer_present", "nosuch"),
    "backfill.rate": ("0", "0.01", "2"),
    "trends.by": ("task_type", "agent", "agent_version", "agents"),
    "trends.scorer": ("task_completion", "answer_present", "nosuch"),
    "trends.weeks": ("1", "520"),
    "trends.criterion": ("outcome", "nosuch"),
    "trends.form": ("table", "json", "csv", "png", "svg"),
    "trends.output": ("out.file", "nosuch/out.file"),
    "report.html": ("page.html", "nosuch/page.html"),
    "report.markdown": ("-", "page.md"),
    "report.week": ("2026-W43", "1998-W01", "W99"),
    "runs.status": ("completed", "errored", "done"),
    "runs.agent_version": ("1.1", "=2+2", "nosuch"),
    "runs.tag": ("region=eu", "no mark"),
    "runs.below": ("0", "0.5", "2"),
    "runs.scorer": ("task_completion", "answer_present", "nosuch"),
    "show.run_id": ("r-1", "r-5", "twice", "nosuch"),
    "show.judgment": ("task_completion", "answer_present", "nosuch"),
    "drift.acknowledge": ("1", "2", "999"),
    "drift.mute": ("5", "999"),
    "drift.accept": ("7", "999"),
    "alerts.acknowledge": ("1", "999"),
    "alerts.mute": ("5", "999"),
    "alerts.resolve": ("7", "999"),
    "run_id": ("r-1", "twice", "nosuch"),
    "health.lane": ("judge", "heuristics", "control", "beat", "nosuch"),
    "health.minutes": ("1", "500000"),
    "rubric lint.paths": ("prompts/refund_policy.rubric.md.j2", "nosuch.md"),
    "rubric show.name": ("task_completion", "refund_policy@1.1.0", "task_completion@9.9.9", "nosuch"),
    "rubric promote.name": ("refund_policy", "nosuch"),
    "rubric promote.unproved": ("a trial", " "),
    "rubric promote.version": ("1.1.0", "9.9.9"),
    "rubric preview.name": ("task_completion", "nosuch"),
    "demo.folder": ("made",),
    "demo.seed": ("2",),
    "loglevel": ("warning", "debug"),
    "up.concurrency": ("3",),
    "worker.queues": ("judge,control,heuristics", "heuristics"),
    "worker.concurrency": ("1",),
    "worker.name": ("one@%h",),
    "status.interval": ("0.5",),
}


def values_of(parameter: Parameter) -> Sequence[str | bool]:
    """What the matrix gives to a parameter; nothing where nobody has said it yet."""
    if parameter.is_flag:
        return [True]
    found = SAMPLES.get(f"{parameter.command}.{parameter.name}", SAMPLES.get(parameter.name, ()))
    return [*parameter.choices, "nosuch"] if parameter.choices else list(found)


class Rule(NamedTuple):
    """Where a row ends with another code than 0."""

    commands: Sequence[str]
    """Empty for all."""
    when: Callable[[Given, str], object]
    """Of a row and the project's name."""
    codes: frozenset[int]


def _refused(commands: str, when: Callable[[Given, str], object]) -> Rule:
    return Rule(tuple(each.strip() for each in commands.split(",") if each.strip()), when, frozenset({2}))


def _ends(codes: set[int], commands: str, when: Callable[[Given, str], object]) -> Rule:
    return Rule(tuple(each.strip() for each in commands.split(",")), when, frozenset(codes))


def _one_of(name: str, *values: str) -> Callable[[Given, str], object]:
    return lambda given, project: given.get(name) in values


def _unknown_in(filled: bool, name: str, *values: str) -> Callable[[Given, str], object]:
    """Refused where there is something to compare a name with, or, with `filled` False, in every project."""
    return lambda given, project: given.get(name) in values and (not filled or project != "empty")


def _decides_on_all_open_ones(given: Given, _project: str) -> object:
    return given.get("acknowledge") == "1" and {"mute", "accept"} <= given.keys()


def _would_pay_unasked(given: Given) -> bool:
    """Of the large project, whose budget skipped runs; there is no terminal to ask at."""
    has_nights = given.get("since") != "2031-01-04" and given.get("until") != "2019-12-31"
    return has_nights and given.get("scorer") != "answer_present" and not {"yes", "dry_run"} & given.keys()


def _form(given: Given) -> object:
    return "json" if "as_json" in given else given.get("form", "table")


_JUDGED = {("small", "r-5"), ("large", "r-1"), ("large", "r-5")}
"""Runs that were drawn; in the large project for jobs of a release that kept no prompts."""
EXPECTED: Sequence[Rule] = (
    _refused("", _one_of("since", "soon")),
    _refused("", _one_of("on", "soon", "2031-01-04")),
    _refused("", lambda given, project: str(given.get("since", "")) > str(given.get("until", "9"))),
    _refused("", _one_of("limit", "0")),
    _refused("", _one_of("lane", "nosuch")),
    _refused("", _one_of("rate", "2")),
    _refused("sample, nightly", _one_of("since", "2031-01-04")),
    _refused("nightly", lambda given, project: "on" in given and ("since" in given or "until" in given)),
    _refused("backfill", _one_of("scorer", "nosuch")),
    _refused("backfill", lambda given, project: project == "large" and _would_pay_unasked(given)),
    _refused("score", lambda given, project: "run" not in given and given.keys() & {"source", "scorer"}),
    _refused("score", lambda given, project: "run" in given and given.get("lane") == "batch"),
    _refused("score", lambda given, project: "run" in given and given.get("scorer") == "nosuch"),
    _refused(
        "score",
        lambda given, project: "run" in given and not _is_found({**given, "run_id": given["run"]}, project),
    ),
    _refused("trends", _one_of("by", "agents")),
    _refused("trends", _one_of("form", "svg")),
    _refused("trends", lambda given, project: "weeks" in given and "since" in given),
    _refused("trends", lambda given, project: "by_day" in given and _form(given) == "png"),
    _refused(
        "trends",
        lambda given, project: {"by_day", "task_type"} <= given.keys() and given.get("by", "task_type") != "task_type",
    ),
    _ends({0, 2}, "trends", lambda given, project: "criterion" in given),  # only some projects have it
    _refused("trends", lambda given, project: "output" in given and _form(given) not in ("csv", "png")),
    _refused("trends", _one_of("output", "nosuch/out.file")),
    _refused("report", _one_of("week", "W99")),
    _refused("report", lambda given, project: "week" in given and ("since" in given or "until" in given)),
    _refused("report", lambda given, project: "as_json" in given and given.get("markdown") == "-"),
    _refused("report", _one_of("html", "nosuch/page.html")),
    _refused("trends", _unknown_in(True, "scorer", "nosuch")),
    _refused("trends, report", _unknown_in(True, "task_type", "nosuch")),
    _refused("runs", _one_of("status", "done")),
    _refused("runs", _one_of("tag", "no mark")),
    _refused("runs", _one_of("below", "2")),
    _refused("runs", _unknown_in(True, "scorer", "nosuch")),
    _refused("alerts", lambda given, project: "test" in given),  # no destination is set
    _refused("drift, alerts", lambda given, project: "999" in (given.get(each) for each in CHANGES["drift"])),
    _refused("alerts", _one_of("resolve", "999")),
    _refused(
        "drift, alerts",
        lambda given, project: project != "large" and {"acknowledge", "mute", "accept", "resolve"} & given.keys(),
    ),
    _refused("init", lambda given, project: given.get("folder", ".") == "." and "force" not in given),
    _refused("ingest", _one_of("form", "jsnol")),
    _refused("ingest", _one_of("paths", "nosuch.jsonl")),
    _ends({3}, "ingest", lambda given, project: given["paths"] == "bad.jsonl"),
    _ends({3}, "ingest", lambda given, project: given["paths"] == "mixed.jsonl" and "strict" in given),
    _refused("rubric preview, rubric show, rubric promote", _one_of("name", "nosuch")),
    _refused("rubric show", _one_of("name", "task_completion@9.9.9")),
    _refused("rubric show", lambda given, project: project != "small"),  # a release of 0.1 stored no texts
    _refused("rubric promote", _one_of("unproved", " ")),
    _refused("rubric promote", _one_of("version", "9.9.9")),
    _refused("rubric lint", _one_of("paths", "nosuch.md")),
    _refused("show, explain, rubric preview", lambda given, project: not _is_found(given, project)),
    _refused("show", _one_of("judgment", "answer_present", "nosuch")),
    _refused("show", lambda given, project: "raw" in given and "judgment" not in given),
    _refused("show", lambda given, project: "judgment" in given and (project, given["run_id"]) not in _JUDGED),
    _refused("health", _one_of("lane", "nosuch")),
    _refused("schema run", _one_of("form", "nosuch")),
    _ends({1}, "health", lambda given, project: True),  # no worker runs beside the matrix
    _ends({0}, "drift", _decides_on_all_open_ones),
    _ends({10}, "drift, alerts", lambda given, project: project == "large" and "fail_on_drift" in given),
)


def _is_found(given: Given, project: str) -> bool:
    """Whether a run's id names one run: `r-1` is known from one source, `twice` from two."""
    known = {"r-1": {"shop"}, "r-5": {"shop"}, "twice": {"shop", "mirror"}}.get(str(given.get("run_id")), set())
    if "source" in given:
        known &= {str(given["source"])}
    return project != "empty" and len(known) == 1


def codes(command: str, given: Given, project: str) -> frozenset[int]:
    """The exit codes that a row may end with."""
    for rule in EXPECTED:
        if (not rule.commands or command in rule.commands) and rule.when(given, project):
            return rule.codes
    return frozenset({0})


def changes(command: str, given: Given) -> bool:
    """Whether a row needs a database of its own."""
    return COMMANDS[command] == WRITES or any(name in given for name in CHANGES.get(command, ()))
