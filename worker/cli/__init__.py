"""The command line: `spotcheck`."""

from worker.cli.main import main

__all__ = ["main"]
