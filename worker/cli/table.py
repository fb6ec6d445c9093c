"""Tables as lines of text. Rich could lay them out, but importing it costs each command 20 ms of CPU."""

from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size

from worker.cli.output import columns, plain, say

GAP = 2
"""Blanks between two columns."""
_LEAST, _CUT = 20, "…"


class TextTable:
    """Heads and rows of data; every cell is one line that gives a terminal no orders.

    Example:
        >>> table = TextTable(["task type", "runs"], right=["runs"])
        >>> table.add_row("refund", "1,200")
        >>> table.lines(None)
        ['task type   runs', 'refund     1,200']
        >>> table.lines(12)
        ['task…   runs', 'refu…  1,200']
    """

    def __init__(
        self, heads: Sequence[str], *, right: Collection[str] = (), widths: Sequence[int] | None = None
    ) -> None:
        """No row yet.

        Args:
            heads: Of the columns.
            right: Heads of the columns that end at one edge, as numbers do.
            widths: Of the columns, terminal cells; what is longer is cut. None: as wide as the longest cell.
        """
        self.heads = list(heads)
        self.rows: list[list[str]] = []
        self._right = [head in right for head in heads]
        self._widths = widths

    def add_row(self, *cells: str) -> None:
        """One more row, a cell for each head."""
        assert len(cells) == len(self.heads), cells
        self.rows.append([plain(cell.replace("\n", " ").expandtabs()) for cell in cells])

    @property
    def width(self) -> int:
        """Terminal cells that it takes where nothing is cut."""
        return sum(self._natural) + GAP * (len(self.heads) - 1)

    @property
    def _natural(self) -> list[int]:
        return list(self._widths or [max(map(cell_len, column)) for column in zip(self.heads, *self.rows, strict=True)])

    def lines(self, room: int | None) -> list[str]:
        """The table, heads first; without blanks at the end of a line.

        Args:
            room: Terminal cells of a line: the widest columns are cut until the table fits. None: it is not cut.
        """
        everything = [self.heads, *self.rows]
        widths = self._natural
        if room is not None:
            _narrow(widths, room - GAP * (len(widths) - 1))
        return [(" " * GAP).join(self._aligned(row, widths)).rstrip() for row in everything]

    def _aligned(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        return [
            _fit(cell, width, is_right=is_right)
            for cell, width, is_right in zip(cells, widths, self._right, strict=True)
        ]


def show_table(table: TextTable, least: int = _LEAST) -> None:
    """A table of the result; in a pipe nothing is cut, nor are its first `least` cells of a line anywhere."""
    room = columns()
    for line in table.lines(None if room is None else max(least, room)):
        say(line)


def _narrow(widths: list[int], room: int) -> None:
    """Take from the widest column until all fit; none goes below one cell."""
    while sum(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1


def _fit(cell: str, width: int, *, is_right: bool) -> str:
    length = cell_len(cell)
    if length > width:
        return set_cell_size(cell, width - 1) + _CUT
    blanks = " " * (width - length)
    return blanks + cell if is_right else cell + blanks
