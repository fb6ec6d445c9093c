"""How many sampled runs of a report's nights were judged, by all series of the rubric together."""

from typing import NamedTuple

from worker.core.report.formatting import OutsideName


class JudgedRuns(NamedTuple):
    """The sampled runs of some nights and one rubric, each counted once however many of its series scored it."""

    judged: int
    """Those with a score of any series."""
    drawn: int
    by: tuple[tuple[str, int], ...]
    """Series that were to score any of them, oldest first, and the runs that each scored."""

    @property
    def text(self) -> tuple[str, ...]:
        """The pieces of a phrase; the series are told apart where there are several.

        Example:
            >>> "".join(JudgedRuns(64, 64, (("1.0.0+aaaaaaaa", 48), ("1.1.0+bbbbbbbb", 16))).text)
            '64 of 64 sampled runs judged (48 by 1.0.0+aaaaaaaa, 16 by 1.1.0+bbbbbbbb)'
            >>> JudgedRuns(16, 20, (("1.0.0+aaaaaaaa", 16),)).text, NOTHING_JUDGED.text
            (('16 of 20 sampled runs judged',), ('nothing judged',))
        """
        if not self.drawn:
            return ("nothing judged",)
        whole = f"{self.judged:,} of {self.drawn:,} sampled runs judged"
        if len(self.by) < 2:
            return (whole,)
        pieces: list[str] = []
        for series, scored in self.by:
            pieces += [", " if pieces else " (", f"{scored:,} by ", OutsideName(series)]
        again = sum(scored for _, scored in self.by) - self.judged
        return (whole, *pieces, f"; {again:,} by both)" if again > 0 and len(self.by) == 2 else ")")


NOTHING_JUDGED = JudgedRuns(0, 0, ())
