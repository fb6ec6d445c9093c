"""`spotcheck rubric list | lint | preview`: the first half of the prompt engineer's loop. None of it calls a judge."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.commands import rubric_list, rubric_versions
from worker.cli.context import project, unopened
from worker.cli.options import Json, near
from worker.cli.output import counted, note, say, show_json
from worker.cli.views.run import find_run
from worker.core.rubric.lint import FATAL, lint
from worker.errors import EXIT_USAGE, SettingsError
from worker.scorers.rubric.files import read_folder, read_text
from worker.scorers.rubric.scorer import RubricScorer

app = typer.Typer(help="The rubrics: list, check, preview, and which version scores.", no_args_is_help=True)
app.command("list", short_help="Every rubric, its version and hash, and whose it is.")(rubric_list.listing)
app.command("show", short_help="One version: its series, model, parameters, since when, by whom.")(rubric_versions.show)
app.command("promote", short_help="Let a version score, or go back to one, for nights not drawn yet.")(
    rubric_versions.promote
)


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
        for path in _files(paths):
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
    rubrics = opened.scorers.drafts.rubrics
    if problem := opened.scorers.drafts.problem(name):
        raise problem
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


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files that were named, and the rubrics in the folders that were.

    Raises:
        SettingsError: One does not exist, or a folder holds no rubric.
    """
    for path in paths:
        if path.is_dir():
            own = [Path(name) for name in read_folder(path).rubrics]
            if not own:
                raise SettingsError(f"{path} holds no rubric: they are files NAME.rubric.md.j2")
            yield from own
        elif path.is_file():
            yield path
        else:
            raise SettingsError(f"{path} does not exist")
