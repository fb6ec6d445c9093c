"""Notes of a process that stays, written as lines of its JSON log."""

import logging

from worker import logs
from worker.cli.output import write_notes_as
from worker.settings import read_here


def as_log_lines() -> bool:
    """From here on this process is one that stays: its notes go with its log.

    Returns:
        Whether that is JSON.
    """
    settings = read_here()[0]
    if settings.log != "json":
        return False
    write_notes_as(lambda text, level: logs.json_line(settings, text, level))
    logs.set_up(settings, "INFO")  # for what is said before Celery sets up its own
    logging.captureWarnings(True)
    return True
