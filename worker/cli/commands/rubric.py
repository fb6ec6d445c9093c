"""`spotcheck rubric list | lint | preview`: the first half of the prompt engineer's loop. None of it calls a judge."""

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.commands import rubric_versions
from worker.cli.context import now, project, unopened
from worker.cli.options import Json, near
from worker.cli.output import columns, counted, inline, note, say, show_json
from worker.cli.views.run import find_run
from worker.core.rubric.lint import FATAL, lint
from worker.core.rubric.parse import Rubric, identity
from worker.errors import EXIT_USAGE, SettingsError, StoreError
from worker.project.project import Project
from worker.queries.rubrics import Escalations, recent_escalations
from worker.scorers.rubric.files import load, read_folder, read_text, shipped_prompts
from worker.scorers.rubric.identity import options_of, scorer_key
from worker.scorers.rubric.scorer import RubricScorer

app = typer.Typer(help="The rubrics: list, check, preview, and which version scores.", no_args_is_help=True)
app.command("show", short_help="One version: its series, model, parameters, since when, by whom.")(rubric_versions.show)
app.command("promote", short_help="Let a version score, or go back to one, for nights not drawn yet.")(
    rubric_versions.promote
)
_HASH = 12
_WEEKS = 4
"""For which it is told how often a second judge was asked."""


@app.command("list", short_help="Every rubric, its version and hash, and whose it is.")
def listing(as_json: Json = False) -> None:
    """Every rubric, its version and hash, its series and judge, and which file won.

    The hash is of the text; the series is what its scores are called in trends and drift: text, judge and settings
    together. With a second judge it is told how often it was asked lately.

    Examples: spotcheck rubric list
    """
    opened = unopened()
    rubrics = load(opened.scorers.prompt_folders)
    in_force = set(opened.settings.scoring.rubrics)
    asked = _escalations(opened) if any(one.judge.escalate for one in rubrics.values()) else []
    rows: list[dict[str, Any]] = [
        {
            "name": one.name,
            "version": one.version,
            "hash": identity(one)[:_HASH],
            **_measured_with(opened, one),
            "path": one.path,
            "shipped": Path(one.path).parent == shipped_prompts(),
            "in_force": one.name in in_force,
            "criteria": [criterion.id for criterion in one.criteria],
            "description": one.description,
            "escalations": [_told(each) for each in asked if each.name == one.name],
        }
        for one in rubrics.values()
    ]
    if as_json:
        show_json({"rubrics": rows})
        return
    for row in rows:
        mark = "*" if row["in_force"] else " "
        place = "shipped" if row["shipped"] else row["path"]
        say(f"{mark} {row['name']:<20} {row['version']:<8} {row['hash']}  {row['series']:<15} {place}")
        say(f"    judged by {inline(row['model'])}" if row["model"] else "    no judge is configured")
        for line in textwrap.wrap(str(row["description"]), max(20, (columns() or 200) - 4)):
            say(f"    {line}")
        for each in row["escalations"]:
            for line in textwrap.wrap(_line(each), max(20, (columns() or 200) - 4)):
                say(f"    {line}")
    say("* in force (setting scoring.rubrics)")


def _measured_with(opened: Project, rubric: Rubric) -> dict[str, str | None]:
    """The series that the rubric's scores are of under these settings, as trends name it, and its judge."""
    settings = opened.settings
    model = settings.judge.model if settings.is_judge_configured else None
    options = options_of(rubric, model, redact=settings.scoring.redact, repair=settings.judge.repair)
    return {"series": scorer_key(rubric, options).series, "model": options.model}


def _escalations(opened: Project) -> list[Escalations]:
    """Of the last weeks; none where nothing is stored yet."""
    until = opened.nights.of(now())
    try:
        return recent_escalations(opened, until, weeks=_WEEKS)
    except StoreError as error:  # the rubrics are files, and can be listed all the same
        note(f"how often second judges were asked is not known: {error}")
        return []


def _told(one: Escalations) -> dict[str, Any]:
    figures = {name: value for name, value in one._asdict().items() if name not in ("scorer_pk", "name")}
    return figures | {"rate": one.rate, "agreement": one.agreement, "weeks": _WEEKS}


def _line(one: dict[str, Any]) -> str:
    """One series in words; dollars are those that are known."""
    said = (
        f"{one['series']}, {_WEEKS} weeks: {one['escalated']:,} of {counted(one['judged'], 'run')}"
        f" ({one['rate']:.1%}) escalated from {one['first']} to {one['second']}"
    )
    if not one["escalated"]:
        return said
    said += f"; of those the first judge cost ${one['first_usd']:.4f}, the second ${one['second_usd']:.4f}"
    return said if one["agreement"] is None else f"{said}; they agreed on {one['agreement']:.0%} of {one['compared']:,}"


@app.command("lint", short_help="What is wrong with rubric files, by line.")
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Rubric files; every one in force when not given.")] = None,
    as_json: Json = False,
) -> None:
    """What is wrong with rubric files, or would be better otherwise, each with file, line and column.

    Exits 2 when a file would not load; advice alone exits 0.

    Examples: spotcheck rubric lint · spotcheck rubric lint prompts/refund.rubric.md.j2
    """
    opened = unopened()
    includes: dict[str, str] = {}
    winners: dict[str, tuple[str, str]] = {}  # by file name: a team's own file stands in place of the shipped one
    for folder in opened.scorers.prompt_folders:
        lying = read_folder(folder)
        includes |= lying.includes
        winners |= {Path(path).name: (path, text) for path, text in lying.rubrics.items()}
    texts = dict(winners.values())
    if paths:
        texts = {}
        for path in paths:
            if not path.is_file():
                why = "is a folder; name the files in it" if path.is_dir() else "does not exist"
                raise SettingsError(f"{path} {why}")
            includes = {**includes, **read_folder(path.parent).includes}
            texts[str(path)] = read_text(path)
    found = [finding for path, text in texts.items() for finding in lint(text, path, includes)]
    if as_json:
        show_json({"findings": [finding._asdict() for finding in found], "rubrics": len(texts)})
    else:
        for finding in found:
            say(str(finding))
        wrong = len({finding.path for finding in found})
        say(
            f"{counted(len(found), 'finding')} in {wrong} of {counted(len(texts), 'rubric')}"
            if found
            else f"{counted(len(texts), 'rubric')}, no findings"
        )
    if any(finding.code in FATAL for finding in found):
        raise typer.Exit(EXIT_USAGE)


@app.command("preview", short_help="The exact messages a judge would get for a run.")
def preview(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    run_id: Annotated[str, typer.Option("--run", metavar="ID", help="The run to show it on.")],
    source: Annotated[str | None, typer.Option("--source", help="Where several sources use one id.")] = None,
    as_json: Json = False,
) -> None:
    """The exact messages a judge would get for a run, their tokens, and what was left out. Nothing is sent.

    Examples: spotcheck rubric preview task_completion --run r-88121
    """
    opened = project()
    rubrics = load(opened.scorers.prompt_folders)
    if name not in rubrics:
        raise SettingsError(f"there is no rubric {name!r}{near(name, rubrics)}")
    _, run = find_run(opened, run_id, source)
    scorer = RubricScorer(
        rubrics[name], opened.settings.judge.model or "(no model)", opened.secret, redact=opened.settings.scoring.redact
    )
    seen = run.for_scorer()
    made = scorer.builder.preview(seen)
    missing = scorer.missing(seen)
    answer: dict[str, Any] = {
        "messages": [message._asdict() for message in made.questions[0].messages],
        "tokens": made.tokens,
        "calls": len(made.questions),
        "elided": list(made.shown.elided),
        "redacted": made.shown.redacted,
        "suspicions": list(made.shown.suspicions),
        "asked": [one._asdict() for one in made.questions[0].asked],
        "prompt_hash": made.questions[0].prompt_hash,
        "missing": missing,
    }
    if as_json:
        show_json(answer)
        return
    for message in made.questions[0].messages:
        say(f"— {message.role} —")
        say(message.content)
    for one in made.questions[0].asked:
        say(f"— {one.criterion} —")
        say(one.question)
        for word, when in one.options.items():
            say(f"{word}: {when}")
    say()
    say("tokens (estimated): " + ", ".join(f"{part} {count:,}" for part, count in made.tokens.items()))
    for label, values in (("left out", answer["elided"]), ("looks like an injection", answer["suspicions"])):
        for value in values:
            note(f"{label}: {value}")
    if made.shown.redacted:
        note("taken out: " + ", ".join(f"{count} {kind}" for kind, count in made.shown.redacted.items()))
    if missing:
        note(f"this run would be unscored without a call: missing:{missing}")
