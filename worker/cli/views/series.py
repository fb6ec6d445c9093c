"""New series, as `trends` and `drift` tell of them."""

from typing import Any

from worker.cli.output import counted, inline
from worker.core.report.series import announcement, change_json, learning_note, newest_changes
from worker.queries.report.series import SeriesHistory


def series_json(series: SeriesHistory | None) -> dict[str, Any]:
    """What `--json` adds: `series_changes`, where a series took over in these weeks; else nothing."""
    if series is None or not series.changes:
        return {}
    return {"series_changes": [change_json(change, series.until) for change in series.changes]}


def series_lines(series: SeriesHistory | None) -> list[list[str]]:
    """For each new series what it is and since when; and until when nothing can be found in it."""
    if series is None:
        return []
    more, shown = newest_changes(series.changes)
    told = [[f"{counted(more, 'other change')} of what is measured with before these: --json"]] if more else []
    for change in shown:
        note = learning_note(change, series.until)
        told.append([inline("".join(announcement(change))), *([f"    {note}"] if note else [])])
    return told
