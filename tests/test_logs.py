"""Log lines: one JSON object each or text, without secrets, and without what an unexpected exception quotes."""

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import logs
from worker.errors import StoreError
from worker.logs import fields
from worker.settings import Settings

KEY, RUN_TEXT = 'sk-"s3cret"-käse', "my name is Ann and my card is 4111"
SECRETS = {"OPENAI_API_KEY": KEY, "SPOTCHECK_WEBHOOK_URL": "https://hooks.example.org/T0KEN", "SPOTCHECK_LOG": "json"}


def settings(form: str = "json") -> Settings:
    return Settings.read({**SECRETS, "SPOTCHECK_LOG": form}, None)


class Log:
    """A logger whose lines are kept."""

    def __init__(self, form: str) -> None:
        self.stream = StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(logs.formatter(settings(form)))
        self.logger = logging.Logger("spotcheck", logging.DEBUG)
        self.logger.addHandler(handler)

    @property
    def said(self) -> str:
        return self.stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.said.splitlines()[-1])
        return found


@pytest.fixture(params=["json", "text"])
def log(request: pytest.FixtureRequest) -> Log:
    return Log(request.param)


@pytest.fixture
def json_log() -> Log:
    return Log("json")


def test_a_line_is_an_object_with_its_fields(json_log: Log) -> None:
    json_log.logger.info("%s: %d settled", "judge", 12, extra=fields(lane="judge", settled=12, seconds=1.5, model=None))
    said = json_log.last
    assert list(said)[:5] == ["time", "level", "logger", "process", "message"]
    assert said["time"].endswith("+00:00")
    assert {key: said[key] for key in list(said)[5:]} == {"lane": "judge", "settled": 12, "seconds": 1.5}
    assert (said["level"], said["logger"], said["message"]) == ("info", "spotcheck", "judge: 12 settled")


def test_secrets_and_passwords_are_blanked_wherever_they_stand(log: Log) -> None:
    urls = "redis://me:s3cret@host/0 postgresql://u:p%40ss@h/d?sslpassword=s3cret&x=1 https://hooks.example.org/T0KEN"
    log.logger.warning("the key %s of %s", KEY, urls, extra=fields(model=f"{KEY}!"))
    try:
        raise StoreError(f"could not connect to {urls} with {KEY}")
    except StoreError:
        log.logger.exception("oh: %s", KEY)
    for secret in ("s3cret", "T0KEN", "p%40ss", "käse", "k\\u00e4se"):
        assert secret not in log.said
    assert "redis://me:***@host/0" in log.said
    assert "could not connect" in log.said, "our own words are told"


class _Quoting(Exception):
    """Somebody else's, as a validation error that quotes its input."""


def raise_deep() -> None:
    raise _Quoting(RUN_TEXT)


def test_an_exception_that_nobody_expected_is_told_by_its_kind_and_place_alone(log: Log) -> None:
    try:
        try:
            raise_deep()
        except _Quoting as error:
            raise KeyError(RUN_TEXT) from error
    except KeyError:
        log.logger.exception("the figures could not be made")
    assert "Ann" not in log.said
    assert "KeyError" in log.said
    assert "test_logs.py" in log.said


def test_what_another_handler_has_made_of_an_exception_is_not_taken_over(log: Log) -> None:
    other = logging.StreamHandler(StringIO())
    log.logger.handlers.insert(0, other)
    try:
        raise_deep()
    except _Quoting:
        log.logger.exception("oh")
    assert "Ann" in other.stream.getvalue()
    assert "Ann" not in log.said


def test_a_task_of_celery_that_failed_is_told_without_its_traceback(log: Log) -> None:
    """Celery formats the traceback, and with it the words of the exception, into its own message."""
    context = {"id": "1-2", "name": "spotcheck.tick", "exc": RUN_TEXT, "traceback": f"Traceback\n{RUN_TEXT}"}
    try:
        raise_deep()
    except _Quoting:
        record = logging.LogRecord(
            *("celery.app.trace", logging.ERROR, "trace.py", 1),
            msg="Task %(name)s[%(id)s] raised unexpected: %(exc)s\n%(traceback)s",
            args=(context,),
            exc_info=sys.exc_info(),
        )
    record.data = context
    log.logger.handle(record)
    assert "Ann" not in log.said
    assert "task spotcheck.tick failed" in log.said
    assert "_Quoting" in log.said


def test_what_celery_says_of_a_task_becomes_fields(json_log: Log) -> None:
    data = {"id": "1-2", "name": "spotcheck.tick", "runtime": 0.25, "args": RUN_TEXT, "return_value": RUN_TEXT}
    json_log.logger.info("Task succeeded", extra={"data": data})
    said = json_log.last
    assert (said["task"], said["task_id"], said["seconds"]) == ("spotcheck.tick", "1-2", 0.25)
    assert "Ann" not in json_log.said


def test_a_short_secret_does_not_blank_every_word() -> None:
    formatter = logs.formatter(Settings.read({"OPENAI_API_KEY": "none"}, None))
    record = logging.LogRecord("spotcheck", logging.INFO, "", 0, "none of them", None, None)
    assert formatter.format(record).endswith("none of them")


@given(st.text(max_size=200))
def test_whatever_a_message_holds_it_is_one_line_of_json_and_gives_a_terminal_no_orders(text: str) -> None:
    log = Log("json")
    log.logger.info("%s", text, extra=fields(task_type=text))
    assert log.said.count("\n") == 1
    assert len(log.said.splitlines()) == 1
    assert log.said.isascii()
    assert "\x1b" not in log.said
    assert set(log.last) >= {"time", "level", "message", "task_type"}


def test_a_text_line_gives_no_orders_either() -> None:
    log = Log("text")
    log.logger.info("night \x1b[2J\x9b31m\r%s", "\x07x")
    assert not set("\x1b\x9b\r\x07") & set(log.said)
    assert log.said.endswith("night \ufffd[2J\ufffd31m\ufffd\ufffdx\n")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    found = logging.getLogger()
    handlers, level = list(found.handlers), found.level
    yield found
    for handler in found.handlers:
        if handler not in handlers:
            handler.close()
    found.handlers[:], found.level = handlers, level


def test_every_logger_of_the_process_writes_our_lines_to_a_file(root: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    logs.set_up(settings(), logging.INFO, str(path))
    logging.getLogger("some.library").info("hello")
    logging.getLogger("httpx2").info("POST")
    logging.getLogger("some.library").debug("not this")
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["logger"] == "some.library"


def test_a_line_that_goes_past_the_loggers_has_the_same_form() -> None:
    said = json.loads(logs.json_line(settings(), f"stopping {KEY}", "warning"))
    assert (said["level"], said["message"]) == ("warning", "stopping ***")
