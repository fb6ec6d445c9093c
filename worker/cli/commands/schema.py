"""`spotcheck schema`: the formats of files, for programs."""

from typing import Annotated, Literal

import typer

from worker.cli.output import say, show_json
from worker.core.intake import run_schema

app = typer.Typer(help="The format of runs, as a JSON Schema.", no_args_is_help=True)


@app.command("run", short_help="The JSON Schema of a line of a run file.")
def run(
    form: Annotated[
        Literal["json", "markdown"], typer.Option("--format", help="JSON Schema, or the page docs/runs.md.")
    ] = "json",
) -> None:
    """The JSON Schema of a line of a run file, `spotcheck.run/1`; as a page with every field and three whole examples.

    Examples: spotcheck schema run > run.schema.json · spotcheck schema run --format markdown
    """
    if form == "markdown":
        say(run_schema.markdown().rstrip("\n"))
    else:
        show_json(run_schema.json_schema())
