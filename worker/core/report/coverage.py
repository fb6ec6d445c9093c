"""How many sampled runs were judged, by all series of the rubric together; and which scores no figure holds yet."""

from typing import NamedTuple

from worker.core.report.formatting import OutsideName, counted


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


def not_summarised(scores: int, nights: int, open_jobs: int) -> str:
    """That scores are in no figure yet, and when they will be; nothing where there are none.

    Args:
        scores: That no summary holds.
        nights: That they are of.
        open_jobs: Of these nights; they are summarised when all are done.

    Example:
        >>> not_summarised(12, 1, 0).partition(':')[0]
        '12 scores of 1 night are not summarised yet, and in no figure here'
        >>> not_summarised(1, 1, 3)
        '1 score of 1 night is not summarised yet, and in no figure here: 3 jobs of it are still open'
        >>> not_summarised(0, 0, 0)
        ''
    """
    if not scores:
        return ""
    verb, of_it = "is" if scores == 1 else "are", "of it" if nights == 1 else "of them"
    said = f"{counted(scores, 'score')} of {counted(nights, 'night')} {verb} not summarised yet, and in no figure here"
    if open_jobs:
        return f"{said}: {counted(open_jobs, 'job')} {of_it} {'is' if open_jobs == 1 else 'are'} still open"
    return f"{said}: running workers do so within a minute, spotcheck score --wait at once"
