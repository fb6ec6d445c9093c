"""The project that a command opens, and the clock."""

import os
from datetime import datetime
from typing import TYPE_CHECKING

from worker.cli.output import note
from worker.clock import VARIABLE as CLOCK
from worker.clock import read_clock

if TYPE_CHECKING:  # the app imports this file to close what is open, and `--help` opens nothing
    from worker.project.project import Project
    from worker.store.engine import Store

_opened: "list[Store]" = []


def project(*, creates: bool = False) -> "Project":
    """The project of this folder and environment, with its schema in order; closed when the command ends.

    Args:
        creates: For commands that put something in: a database that is not there is made. All others only read, and
            say that there is none: an all-clear from the wrong folder would be a lie.
    """
    return unopened().open(creates=creates)


def unopened() -> "Project":
    """The project without a look at its database."""
    from worker.project.project import Project
    from worker.settings import read_here

    found = Project(read_here()[0], on_notice=note)
    if warning := found.settings.clock.warning():
        note(warning)
    _opened.append(found.store)
    return found


def close() -> None:
    """Close every store that this command opened."""
    while _opened:
        _opened.pop().close()


def now() -> datetime:
    """The clock, real or a rehearsal's; only doors read it."""
    return read_clock(os.environ.get(CLOCK, "")).now()
