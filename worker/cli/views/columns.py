"""Figures by name in one table, or in several below one another where one would be cut."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

from worker.cli.table import GAP, TextTable

_Key = TypeVar("_Key", bound=Hashable)


def tables(
    head: str, names: Mapping[_Key, str], cells: Mapping[str, Mapping[_Key, str]], room: int | None
) -> list[TextTable]:
    """Tables that fit.

    Args:
        head: Of the first column.
        names: What each row is called, in their order.
        cells: By column, then by row.
        room: Columns of the screen; None where there is no end of them.
    """
    if not names:
        return []
    found = []
    for block in _blocks(cells, max(len(head), *map(len, names.values())), room):
        table = TextTable([head, *block], right=block)
        for key, name in names.items():
            table.add_row(name, *(cells[column][key] for column in block))
        found.append(table)
    return found


def _blocks(cells: Mapping[str, Mapping[_Key, str]], name_width: int, room: int | None) -> list[list[str]]:
    """The columns of each table."""
    blocks: list[list[str]] = [[]]
    used = name_width
    for column, values in cells.items():
        width = GAP + max(len(column), *map(len, values.values()))
        if room is not None and used + width > room and blocks[-1]:
            blocks.append([])
            used = name_width
        blocks[-1].append(column)
        used += width
    return blocks
