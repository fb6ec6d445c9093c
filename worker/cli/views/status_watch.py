"""`spotcheck status --watch`: the screen drawn anew every few seconds, or blocks or lines of JSON in a pipe.

The queue and the judge are cheap to ask. The counts are not where there are many runs, so they are taken less often: at
most one part in twenty of the time goes into them, and the screen says how old they are.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from worker.cli.context import now
from worker.cli.output import columns, note, plain, say, show_json
from worker.cli.table import show_table
from worker.cli.views.status_counts import answer, count_parts
from worker.cli.views.status_engine import ScreenPart, parts
from worker.errors import StoreError
from worker.project.project import Project
from worker.queries.counts import CountWindow, read_counts
from worker.queries.status import EngineStatus, StatusReader

_COUNT_S = 10.0
_SHARE = 20
"""Counting takes at most one part in so many of the time, looking too."""
_LOOK_MOST_S = 60.0


def run(opened: Project, first: date | None, last: date | None, interval_s: float, *, as_json: bool) -> None:
    """Look until Ctrl-C.

    Args:
        opened: Whose engine.
        first: First night of the counts; None for the last that have runs.
        last: Last night of the counts.
        interval_s: Seconds between two looks; more where a look takes long.
        as_json: One line of JSON each time.

    Raises:
        StoreError: The database did not answer at the first look. Later ones say so and go on.
    """
    watched = _LastScreen(opened, first, last)
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        watched.look()
        if as_json:
            _json_lines(watched, interval_s)
        elif sys.stdout.isatty():
            _live(watched, interval_s)
        else:
            _blocks(watched, interval_s)


class _LastScreen:
    """What was seen last, and when each part of it has to be looked at again."""

    def __init__(self, opened: Project, first: date | None, last: date | None) -> None:
        self.opened = opened
        self._window = (first, last)
        self._status = StatusReader(opened)
        self._count_at = self._look_s = self._took_s = 0.0
        self.every_s = _COUNT_S
        """Seconds between two counts."""
        self.counted: CountWindow
        self.counted_at: datetime
        self.engine: EngineStatus
        self.error: str | None = None

    def look(self) -> None:
        """Look at the engine, and at the counts where it is time."""
        began = time.monotonic()
        self.engine = self._status.read()
        took_s, before_s = time.monotonic() - began, self._took_s
        self._took_s = took_s
        self._look_s = min(took_s, before_s)  # the first look, or one beside a busy moment, is not what looks cost
        if began >= self._count_at:
            counting = time.monotonic()
            self.counted, self.counted_at = read_counts(self.opened, *self._window, now()), self.engine.at
            self.every_s = max(_COUNT_S, _SHARE * (time.monotonic() - counting))
            self._count_at = counting + self.every_s
        self.error = None

    def look_later(self, interval_s: float) -> None:
        """Wait, and look again; a database that is away is told, and what was seen before stays."""
        time.sleep(max(interval_s, min(_LOOK_MOST_S, _SHARE * self._look_s)))  # what --watch is for
        try:
            self.look()
        except StoreError as error:
            self.error = str(error)

    def parts(self, room: int | None) -> Iterator[ScreenPart]:
        """What moves first, so that a low screen cuts the other."""
        schedule = self.opened.settings.schedule
        zone = self.opened.settings.zone
        since = "" if self.error is None else f"; since then: {self.error}"
        yield f"{self.engine.at.astimezone(zone):%Y-%m-%d %H:%M:%S} {schedule.time_zone}{since}"
        yield from parts(self.engine, self.opened.settings, room)
        yield ""
        yield f"counted at {self.counted_at.astimezone(zone):%H:%M:%S}, every {self.every_s:.0f} s:"
        yield from count_parts(self.counted, room)


def _live(watched: _LastScreen, interval_s: float) -> None:
    screen = Console(highlight=False, soft_wrap=True, emoji=False)
    with Live(console=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        while True:
            room = screen.width
            live.update(Group(*(_shown(part, room) for part in watched.parts(room))), refresh=True)
            watched.look_later(interval_s)


def _shown(part: ScreenPart, room: int) -> Text:
    said = plain(part) if isinstance(part, str) else "\n".join(part.lines(room))
    return Text(said, no_wrap=False, overflow="fold")


def _blocks(watched: _LastScreen, interval_s: float) -> None:
    while True:
        for part in [*watched.parts(columns()), ""]:
            if isinstance(part, str):
                say(part)
            else:
                show_table(part)
        sys.stdout.flush()
        watched.look_later(interval_s)


def _json_lines(watched: _LastScreen, interval_s: float) -> None:
    while True:
        if watched.error is None:
            said = answer(watched.opened, watched.counted, watched.engine)
            show_json({**said, "counted_at": watched.counted_at}, in_a_line=True)
        else:
            note(f"spotcheck: {watched.error}")
        watched.look_later(interval_s)
