"""Log lines of the processes that stay: for people, or one JSON object each. Never a secret, never what a run says.

What a message of ours says is short and chosen. An exception that nobody expected may quote anything, so of one that is
not ours only its kind and the places in the code are told, and its words where they come from a database, a broker or
the system.
"""

import copy
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any

from worker.errors import SpotcheckError
from worker.settings import Settings

TEXT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
"""As Celery writes a line."""
QUIET = ("httpx2", "alembic")
"""Libraries that write a line a call, or two a process."""
_TELLING = ("worker", "celery", "kombu", "amqp", "billiard", "redis", "sqlalchemy", "psycopg", "sqlite3")
"""Where exceptions come from whose words may be told: they quote addresses and states, and no rows."""
_WORDS_CHARS = 300
_PLACES = 12
_URL_PASSWORD = re.compile(r"(://[^:/?#\s]*:)[^@/\s]*@|(?i:([?&]\w*password=)[^&\s]*)")
_CONTROLS = {code: 0xFFFD for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_SHORTEST_SECRET = 6
"""Shorter ones would be found in every word."""


def fields(**values: str | int | float | None) -> dict[str, dict[str, str | int | float]]:
    """What a line tells besides its message, for `extra=`.

    Example:
        >>> fields(lane="judge", settled=12, model=None)
        {'fields': {'lane': 'judge', 'settled': 12}}
    """
    return {"fields": {name: value for name, value in values.items() if value is not None}}


class _Careful(logging.Formatter):
    """Leaves out what must not be told."""

    def __init__(self, form: str | None, secrets: Collection[str]) -> None:
        super().__init__(form)
        self._secrets = sorted((one for one in secrets if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        shown = copy.copy(record)
        shown.msg, shown.args = _message(record).translate(_CONTROLS), None
        shown.exc_text, shown.stack_info = None, None
        return self.blanked(self.line(shown))

    def line(self, record: logging.LogRecord) -> str:
        """The line with its secrets still in it."""
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: ANN401 as logging has it
        """The kind, perhaps the words, and the places."""
        return "\n".join([_words(ei[1]), *(f"  {place}" for place in _places(ei[1]))])

    def blanked(self, line: str) -> str:
        """Without the secrets that we know, and without any password in a URL."""
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return _URL_PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", line)


class _Json(_Careful):
    """One object a line."""

    def line(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            said |= {"error": _words(record.exc_info[1]), "places": _places(record.exc_info[1])}
        told = {name: self.blanked(value) if isinstance(value, str) else value for name, value in said.items()}
        # ASCII, so that no reader of lines takes a separator in a name for an end of line
        return json.dumps(told, default=str)


def _message(record: logging.LogRecord) -> str:
    if record.name == "celery.app.trace" and record.exc_info:  # Celery's own message holds the whole traceback
        data = _data(record)
        return f"task {data.get('name', '?')} failed"
    return record.getMessage()


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """Ours, or what Celery says of a task; neither what it was called with nor what it gave."""
    own = getattr(record, "fields", None)
    if isinstance(own, dict):
        return own
    data = _data(record)
    known = {"task": data.get("name"), "task_id": data.get("id"), "seconds": data.get("runtime")}
    return {name: value for name, value in known.items() if isinstance(value, str | float | int)}


def _data(record: logging.LogRecord) -> Mapping[str, Any]:
    data = getattr(record, "data", None)
    return data if isinstance(data, dict) else {}


def _words(error: BaseException | None) -> str:
    if error is None:
        return ""
    kind = type(error)
    is_told = isinstance(error, SpotcheckError | OSError) or kind.__module__.partition(".")[0] in _TELLING
    said = (str(error).strip().splitlines() or [""])[0][:_WORDS_CHARS] if is_told else ""
    return f"{kind.__name__}: {said}" if said else kind.__name__


def _places(error: BaseException | None) -> list[str]:
    """Where it came through, the last ones."""
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:] if error is not None else []
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def formatter(settings: Settings, text: str = TEXT) -> logging.Formatter:
    """How this process writes a line.

    Args:
        settings: Which form, and the secrets.
        text: The form for people.
    """
    return _Json(None, settings.secrets) if settings.log == "json" else _Careful(text, settings.secrets)


def set_up(settings: Settings, level: int | str, file: str | None = None) -> None:
    """Have every logger of this process write our lines, to stderr or to a file.

    Args:
        settings: Which form, and the secrets.
        level: The least that is told.
        file: Appended to; a file that was moved away is opened anew.
    """
    handler: logging.Handler = WatchedFileHandler(file, encoding="utf-8") if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    hush()


def hush() -> None:
    """Let libraries that say something at every call speak only of what is wrong."""
    for chatty in QUIET:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def json_line(settings: Settings, message: str, level: str = "info") -> str:
    """A line of a process that logs JSON, for what does not go through a logger."""
    record = logging.LogRecord("spotcheck", logging.getLevelName(level.upper()), "", 0, message, None, None)
    record.process = os.getpid()
    return formatter(settings).format(record)
