"""The app, its exit codes, and one line for each error."""

import sys
import traceback
from typing import Annotated

import typer

from worker import __version__
from worker.cli.door import err
from worker.errors import EXIT_OK, SpotcheckError

EPILOG = (
    "Exit codes: 0 fine · 2 usage or settings · 3 input rejected under --strict · 4 judge unavailable · 5 store · "
    "6 export · 10 drift found with --fail-on-drift · 130 interrupted. Settings: `spotcheck settings`."
)
app = typer.Typer(
    name="spotcheck",
    help="Scores a small known-probability sample of AI-agent runs, and says honestly whether quality changed.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"spotcheck {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="The version, and nothing else.")
    ] = False,
    show_traceback: Annotated[bool, typer.Option("--traceback", help="On an error, show where it came from.")] = False,
) -> None:
    del version, show_traceback  # read from sys.argv where an error is caught


def _register() -> None:
    from worker.cli import commands

    commands.register(app)


def main() -> None:
    """Run the command; errors are one line on stderr and a numbered exit."""
    _register()
    arguments = [argument for argument in sys.argv[1:] if argument != "--traceback"]
    wants_traceback = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments, prog_name="spotcheck", standalone_mode=True)
    except SpotcheckError as error:
        _one_line(error, wants_traceback)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted; what was stored stands, and repeating the command goes on from there")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # `spotcheck runs | head`
        sys.exit(EXIT_OK)


def _one_line(error: SpotcheckError, wants_traceback: bool) -> None:
    if wants_traceback:
        traceback.print_exception(error)
    err.print(f"spotcheck: {error}", markup=False)
