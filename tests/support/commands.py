"""Every command of `spotcheck` by its full name."""

from collections.abc import Iterator
from typing import Any

import typer.main

from worker.cli import app as door


def commands() -> dict[str, Any]:
    """Every command by its full name, without the groups."""
    return dict(_walk(typer.main.get_command(door.app), ""))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for child, inner in command.commands.items():
        yield from _walk(inner, f"{name} {child}".strip())
