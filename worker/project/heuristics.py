"""The heuristics of one project, and what becomes of a scorer of a team's own that cannot be used."""

import logging
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from worker.settings.sections_sampling import ScoringSection

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.scorers.heuristics.heuristic import Heuristic

log = logging.getLogger("spotcheck")


class HeuristicSet:
    """The heuristics in force. One of a package that cannot be used is told and left out, and so it may be with all."""

    def __init__(self, scoring: ScoringSection, rubrics: Callable[[], Collection[str]]) -> None:
        """Build nothing yet.

        Args:
            scoring: Which are in force, the custom ones, and the settings of both.
            rubrics: Gives the names of all rubrics, which no scorer may have.
        """
        self._scoring, self._rubrics = scoring, rubrics
        self.leaves_out_broken = False
        """Whether a scorer of `[scoring.custom]` that cannot be used is told and left out, as in a command that only
        reads and in a running worker; else it is an error."""
        self.on_left_out: Callable[[str], None] = log.error
        """Gets one line for each scorer that is left out."""
        self._broken: dict[str, str] = {}

    @cached_property
    def built(self) -> "Mapping[str, Heuristic]":
        """The heuristics in force by name, in a stable order.

        Raises:
            SettingsError: A name is unknown or taken, a setting is wrong, or a scorer of `[scoring.custom]` cannot be
                used.
            RubricError: A rubric is wrong.
        """
        from worker.scorers.registry import BUILT_IN, build

        rubrics = set(self._rubrics())
        built = build(
            self._scoring,
            self._leave_out if self.leaves_out_broken else None,
            on_broken_package=self._leave_out,
            rubrics=rubrics,
            left_out=tuple(self._broken),
        )
        for name in set(self._broken) & {*built, *BUILT_IN, *rubrics}:  # another has the name, and goes on
            del self._broken[name]
        return built

    @property
    def broken(self) -> Mapping[str, str]:
        """Scorers that were left out by name, with the reason; empty before the others are built.

        One whose name another scorer has is not among them.
        """
        return self._broken

    def leave_out(self, broken: Mapping[str, str]) -> None:
        """Leave these out without another try: a worker's children run what their parent could load, and no more."""
        self._broken |= broken

    def _leave_out(self, name: str, why: str) -> None:
        self._broken[name] = why
        self.on_left_out(f"{why}; its jobs wait, other scorers go on; mend it, and restart workers")
