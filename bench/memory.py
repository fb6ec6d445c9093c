"""Memory of processes while they work: looked at now and then, told as first quarter against last, and as slopes."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

EVERY_S = 2.0
_SETTLING = 0.1
"""Part of the work in which connections, code and buffers are still being made; no part of what is told."""


class Look(NamedTuple):
    """One process at one moment."""

    work: int
    """Items done by all processes together."""
    pss_kb: int
    """Resident, its share of what it shares with others."""
    rss_kb: int


class Memory:
    """Looks at processes every two seconds."""

    def __init__(self) -> None:
        self.looks: defaultdict[int, list[Look]] = defaultdict(list)
        self._at = 0.0

    def look(self, pids: Sequence[int], work: int) -> None:
        """Note what they hold, if the last look is long enough ago; one that is gone is passed over."""
        if time.monotonic() < self._at + EVERY_S:
            return
        self._at = time.monotonic()
        for pid in pids:
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            self.looks[pid].append(Look(work, _kb(rollup, "Pss:"), _kb(rollup, "Rss:")))

    def rows(self, names: dict[int, str]) -> list[str]:
        """A line of a table for each process: quarters in MB, slopes in KB per 1,000 items.

        What grows in the first half and not in the second are the caches of drivers, which have a bound, and pages that
        a child no longer shares with its parent. A leak grows in both.
        """
        return [_row(names.get(pid, "?"), looks) for pid, looks in self.looks.items() if len(looks) >= 8]


HEAD = f"""\
| process | looks | PSS MB, first quarter | last | RSS MB, first | last | KB of RSS per 1,000, first half | second |
|---|{"--:|" * 7}"""


def _row(name: str, looks: Sequence[Look]) -> str:
    most = looks[-1].work
    first = [look for look in looks if most * _SETTLING <= look.work <= most / 4]
    last = [look for look in looks if look.work >= most * 3 / 4]
    halves = [
        [look for look in looks if most * low <= look.work <= most * high]
        for low, high in ((_SETTLING, 0.5), (0.5, 1.0))
    ]
    slopes = [np.polyfit([look.work / 1000 for look in half], [look.rss_kb for look in half], 1)[0] for half in halves]
    figures = [
        np.mean([getattr(look, of) for look in part]) / 1000 for of in ("pss_kb", "rss_kb") for part in (first, last)
    ]
    return (
        f"| {name} | {len(looks)} | "
        + " | ".join(f"{figure:.1f}" for figure in figures)
        + "".join(f" | {slope:+.0f}" for slope in slopes)
        + " |"
    )


def _kb(rollup: str, field: str) -> int:
    return int(rollup.partition(f"\n{field}")[2].split()[0])
