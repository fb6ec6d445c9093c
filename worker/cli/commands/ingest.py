"""`spotcheck ingest`: run files into the store."""

import os
import stat
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Annotated, NamedTuple

import typer

from worker.cli.context import now, project
from worker.cli.options import Json
from worker.cli.output import counted, inline, note, say, show_json
from worker.cli.progress import progress
from worker.cli.rejected import Reasons, RejectsFile, each
from worker.connectors.sources import registry
from worker.connectors.sources.lines import beginning, buffered
from worker.core.intake.notices import Noticed, of_an_intake, sentences
from worker.core.intake.notices import as_json as notices_as_json
from worker.errors import EXIT_REJECTED, SettingsError
from worker.pipeline.intake.take import BATCH, IntakeCounts, take
from worker.project.project import Project

_SHELLS = ("/dev/", "/proc/")
"""Where the pipes of a shell's `<(…)` are."""


class _Taken(NamedTuple):
    """What became of an input."""

    counts: IntakeCounts
    side: Path | None
    """The file that names what was rejected."""
    has_text: bool
    reasons: Reasons


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Run files, plain or gzip; - is stdin.")],
    form: Annotated[str, typer.Option("--format", help=f"{registry.formats()}.")] = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when any line was rejected.")] = False,
    as_json: Json = False,
) -> None:
    """Take in runs from files, plain or gzip: spotcheck.run/1, one JSON object a line, or another --format.

    Safe to repeat: what is known already is counted as duplicate, a run with other content becomes a new revision.
    Of a key that stands twice in one object the last counts, as in every JSON reader.
    A line is rejected only without id, task type, status or end time, or when it is no JSON: FILE.rejected.jsonl in
    this folder has its number, the reason and an excerpt. An optional field that cannot be read is left out, and
    counted. Taking the same file again replaces that list; those of another file or of stdin are never overwritten.
    The fields, and what else they may be called: spotcheck schema run --format markdown.
    Exit 3 when every line was rejected or a file is plainly something else; with --strict when one line was.

    Examples: spotcheck ingest runs.jsonl.gz · zcat old/*.gz | spotcheck ingest -
    """
    registry.check(form)
    for path in paths:
        _check_path(path, is_alone=len(paths) == 1)  # a wrong name is told before anything is taken
    opened = project(creates=True)
    noticed = of_an_intake()
    files = [_take_file(opened, path, form, noticed) for path in paths]
    total = sum((file.counts for file in files), IntakeCounts())
    foreign = [file.reasons for file in files if file.reasons.whole]
    total = total._replace(rejected=total.rejected - len(foreign))  # a file that holds no runs is no line
    if as_json:
        show_json(
            {
                **total._asdict(),
                "rejected_files": [str(file.side) for file in files if file.side],
                "files_not_read": [{"file": reasons.name, "reason": reasons.whole} for reasons in foreign],
                "reasons": [reason for file in files for reason in file.reasons.as_json()],
                "notices": notices_as_json(noticed.all()),
            }
        )
    else:
        for sentence in sentences(noticed.all()):
            note(sentence)
        if len(files) > 1:
            for file in files:
                if not any(file.counts):
                    note(f"{inline(file.reasons.name)}: {_nothing(has_text=file.has_text)}")
        say(_summary(total, len(foreign), has_text=any(file.has_text for file in files)))
    took = total.accepted + total.revised + total.duplicate
    if foreign or (total.rejected and (strict or not took)):  # nothing was taken: that is a failure, asked for or not
        raise typer.Exit(EXIT_REJECTED)


def _summary(total: IntakeCounts, foreign: int, *, has_text: bool) -> str:
    if any(total) or foreign:
        not_read = f"; {counted(foreign, 'file')} not read" if foreign else ""
        return (
            f"{total.accepted:,} accepted, {total.revised:,} revised, {total.duplicate:,} known already, "
            f"{total.rejected:,} rejected{not_read}"
        )
    return f"nothing to take: {_nothing(has_text=has_text)}"


def _nothing(*, has_text: bool) -> str:
    return "there is a header, and no run below it" if has_text else "the input is empty"


def _take_file(opened: Project, path: str, form: str, noticed: Noticed) -> _Taken:
    """Take a file in."""
    name = "stdin" if path == "-" else path
    reasons = Reasons(name)
    with ExitStack() as stack:
        stream = _open(path, stack)
        if stream.isatty():
            note("reading runs from the terminal; Ctrl-D ends them")
        is_live = path == "-" or not Path(path).is_file()
        stack.callback(reasons.tell)  # also what an interrupt leaves
        bar = stack.enter_context(progress(f"ingest {inline(name)}"))
        rejects = stack.enter_context(RejectsFile(path))

        def on_batch(running: IntakeCounts) -> None:
            bar.set(sum(running), None)
            rejects.flush()
            if is_live and sum(running) >= BATCH:
                reasons.tell_new()

        whole = buffered(stream)
        has_text = bool(beginning(whole).strip())
        records = registry.read(whole, form, now=now(), limits=opened.settings.intake)
        on_rejected = each(reasons.add, rejects.keep)
        counts = take(opened, records, now(), on_rejected=on_rejected, on_batch=on_batch, noticed=noticed)
    rejects.tell()
    return _Taken(counts, rejects.side, has_text, reasons)


def _check_path(path: str, *, is_alone: bool = True) -> None:
    """Complain about a path without opening it: a pipe can be opened only once, and a device may never end."""
    if path == "-":
        return
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise SettingsError(f"{path} is a folder; name the files in it")
    if stat.S_ISFIFO(found.st_mode) and not path.startswith(_SHELLS) and not is_alone:
        raise SettingsError(f"{path} is a pipe, which waits for its writer; name it alone, or give it as stdin (-)")
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode) or _is_harmless(found)):
        raise SettingsError(f"{path} is a device or a socket, not a file; give it as stdin (-) if it is meant")
    if not os.access(path, os.R_OK):
        raise SettingsError(f"{path} cannot be read: you may not")


def _is_harmless(found: os.stat_result) -> bool:
    """Whether a device is the empty one, or what stdin is anyway."""
    with suppress(OSError):
        return any(os.path.samestat(found, one) for one in (Path(os.devnull).stat(), os.fstat(0)))
    return False


def _open(path: str, stack: ExitStack) -> IO[bytes]:
    if path == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> SettingsError:
    return SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")
