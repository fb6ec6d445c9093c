"""`spotcheck status`: every ended run accounted for, the queue, the judge, the workers, the money."""

from typing import Annotated

import typer

from worker.cli.context import now, project
from worker.cli.options import Json, Since, Until, window
from worker.cli.output import columns, say, show_json
from worker.cli.table import show_table
from worker.cli.views import status_engine
from worker.cli.views.status_counts import answer, count_parts
from worker.errors import SettingsError
from worker.queries.counts import read_counts
from worker.queries.status import StatusReader

_INTERVAL_S = 2.0


def status(
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again; Ctrl-C ends it.")] = False,
    interval: Annotated[
        float | None, typer.Option("--interval", min=0.5, max=3600, metavar="S", help="Seconds between two looks: 2.")
    ] = None,
) -> None:
    """The counts of every night and scorer, and whether they reconcile; the queue, the judge, today's spend.

    By default the last 14 nights that have runs. With --watch a screen that is drawn anew, or in a pipe one block after
    another; with --json too, one line of JSON each time. Ctrl-C ends it.

    Examples: spotcheck status · spotcheck status --since 2026-09-28 --json · spotcheck status --watch --interval 5
    """
    first, last = window(since, until)
    if interval is not None and not watch:
        raise SettingsError("--interval belongs to --watch")
    opened = project()
    opened.scorers.heuristics.leaves_out_broken = True  # it only reads
    opened.scorers.tell_warnings()
    if watch:
        from worker.cli.views import status_watch  # a live screen that most looks do without

        status_watch.run(opened, first, last, interval or _INTERVAL_S, as_json=as_json)
        return
    counted, engine = read_counts(opened, first, last, now()), StatusReader(opened).read()
    if as_json:
        show_json(answer(opened, counted, engine))
        return
    for part in [*count_parts(counted, columns()), *status_engine.parts(engine, opened.settings, columns())]:
        if isinstance(part, str):
            say(part)
        else:
            show_table(part)
