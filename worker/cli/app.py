"""The app, its exit codes, and one line for each error."""

import contextlib
import gc
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, Any

import typer

from worker import __version__
from worker.cli.context import close
from worker.cli.files import DISK_FULL, is_full
from worker.cli.output import begin, note
from worker.cli.registry import LazyGroup
from worker.cli.stopping import leave
from worker.errors import EXIT_EXPORT, EXIT_OK, EXIT_USAGE, SpotcheckError

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
_UsageError: Any = typer.BadParameter.__base__
"""Every mistake on the command line; typer exports only this child of it."""
EPILOG = (
    "Exit codes: 0 fine · 2 usage or settings · 3 all input rejected, or any under --strict · 4 judge unavailable · "
    "5 store · 6 export · 10 drift found with --fail-on-drift · 130 interrupted. Settings: `spotcheck settings`."
)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what a service manager sends, and the same to us as Ctrl-C."""


class _RootGroup(LazyGroup):
    """The root: whatever a command raises becomes one line on stderr and a numbered exit."""

    def main(self, args: Any = None, *_: Any, **extra: Any) -> Any:  # noqa: ANN401 as typer's own
        """Run a command line and exit."""
        given = [str(argument) for argument in (sys.argv[1:] if args is None else args)]
        arguments = [argument for argument in given if argument != "--traceback"]
        extra |= {"prog_name": "spotcheck", "standalone_mode": False}
        begin()
        try:
            code = super().main(args=arguments, **extra)
        except Exception as error:  # noqa: BLE001 the last stop: nothing may end in a page of traceback unasked
            if len(arguments) < len(given):
                traceback.print_exception(error)
            words, code = _one_line(error)
            note(words, "error")
        sys.exit(code if isinstance(code, int) else EXIT_OK)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 as typer's own
        """Run the command itself."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt as stop:
            told = isinstance(stop, _Terminated)
            said = "told to stop" if told else "interrupted"
            note(f"{said}; what was stored stands, and repeating the command goes on from there")
            raise typer.Exit(EXIT_TERMINATED if told else EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # `spotcheck runs | head`: the reader has what it wanted
            _close_stdout()
            raise typer.Exit(EXIT_OK) from None
        finally:
            close()
        return result


app = typer.Typer(
    cls=_RootGroup,
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
    del version, show_traceback  # taken from the arguments before they are parsed, so that it may stand anywhere


def main() -> None:
    """Run the command; errors are one line on stderr and a numbered exit."""
    _open_streams()
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _terminate)
    gc.freeze()
    gc.enable()
    app()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, leave)
    raise KeyboardInterrupt


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _one_line(error: Exception) -> tuple[str, int]:
    """What happened, to which thing, what to do; and the exit code."""
    if isinstance(error, SpotcheckError):
        return f"spotcheck: {error}", error.exit_code
    if isinstance(error, typer.Abort):  # Ctrl-C between two steps of the command line itself
        return "interrupted", EXIT_INTERRUPTED
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error), EXIT_USAGE  # its message is the help
    if isinstance(error, _UsageError):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "spotcheck"
        said = " ".join(error.format_message().split()).removesuffix(".")
        return f"spotcheck: {said[:1].lower()}{said[1:]}; see {command} --help", EXIT_USAGE
    if isinstance(error, OSError) and is_full(error):
        return f"spotcheck: {DISK_FULL}", EXIT_EXPORT
    if isinstance(error, FileNotFoundError) and error.filename is None:  # getcwd says no more
        return "spotcheck: the current folder is gone; change into one that exists", EXIT_USAGE
    if isinstance(error, OSError) and error.strerror:
        thing = f"{error.filename}: " if error.filename is not None else ""
        return f"spotcheck: {thing}{error.strerror}; --traceback shows where", EXIT_UNEXPECTED
    said = (str(error).strip().splitlines() or [""])[0][:300]
    return f"spotcheck: unexpected {type(error).__name__}: {said}; --traceback shows where", EXIT_UNEXPECTED


def _open_streams() -> None:
    """Streams that a caller closed lead nowhere, so that no file takes their place; odd terminals get a ?."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 for the whole process
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _close_stdout() -> None:
    """Let what is still buffered go nowhere, or Python complains at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
