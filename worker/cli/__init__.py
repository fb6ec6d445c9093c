"""The command line: `spotcheck`."""

from worker.cli.app import main

__all__ = ["main"]
