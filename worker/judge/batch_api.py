"""A judge's batch lane: files of questions that are answered within a day, at half the price.

The calls of OpenAI's Files and Batches, as Azure and LiteLLM have them too. Answers are read as they are, whatever the
server says: an id may be null, a row may be missing, twice, or nonsense.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from pydantic import SecretStr

from worker.errors import JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.judge.address import scrubbed, shown_url, split_query, usable_key
from worker.judge.failures import causes_of, described, error_for, one_line, read_complaint
from worker.judge.waits import retry_after_s

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

CALL_S, FILE_S = 60.0, 240.0
"""Longest wait for an answer, and for a file to go up or come down, seconds."""
FILE_LIMIT = 2_000_000_000
"""Bytes of a file of answers."""
ROW_LIMIT = 8_000_000
"""Bytes of one row; a verdict has a few thousand."""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_LISTED = 100
_ID_CHARS = 200
_TOO_MUCH = re.compile(r"enqueued.token|token.limit.exceeded", re.IGNORECASE)
"""OpenAI: `token_limit_exceeded: Enqueued token limit reached for … Please try again once some … completed`."""
_NO_LANE = frozenset({404, 405, 501})


class NoBatchLane(JudgeRefusesUs):
    """This server has no files or no batches."""


class BatchGone(JudgeRefusesUs):
    """The server does not know the batch, or the file, any more."""


class BatchStatus(NamedTuple):
    """How a batch stands at the server."""

    batch_id: str
    state: str
    """As the server calls it, from validating to completed, failed, expired or cancelled."""
    completed: int
    output_file_id: str | None
    error_file_id: str | None
    input_file_id: str | None
    message: str | None
    """What the server says went wrong with the whole batch; may be shown."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED

    @property
    def is_too_much(self) -> bool:
        """Whether the server took none of it, since too many tokens wait there already."""
        return self.state == "failed" and _TOO_MUCH.search(self.message or "") is not None


class BatchServer:
    """Files and batches of one judge; for one thread. Nothing is retried here."""

    def __init__(self, base_url: str | None, api_key: SecretStr | None, *, user_agent: str = "spotcheck") -> None:
        """Prepare; nothing is connected or imported yet.

        Args:
            base_url: Up to and including `/v1`; None is the openai package's default.
            api_key: None sends no key.
            user_agent: What to be called in the server's logs.

        Raises:
            SettingsError: The address or the key cannot be used.
        """
        self._base_url = base_url or None
        self._key = usable_key(api_key)
        self._shown = shown_url(self._base_url)
        self._user_agent = user_agent
        self._client: OpenAI | None = None

    def upload(self, path: Path, name: str) -> str:
        """Send a file of questions.

        Returns:
            The server's id of it.

        Raises:
            NoBatchLane: The server takes no files.
            JudgeUnavailable, JudgeRefusesUs: As for a question.
        """
        with path.open("rb") as file, self._errors_of(missing=NoBatchLane):
            response = (
                self._connected()
                .with_options(timeout=FILE_S)
                .post(
                    "/files",
                    cast_to=_response(),
                    body={"purpose": "batch"},
                    files=[("file", (name, file, "application/jsonl"))],
                    options={"headers": {"Content-Type": "multipart/form-data"}},
                )
            )
        file_id = _identity(_document(response).get("id"))
        if file_id is None:
            raise JudgeUnavailable(f"the judge at {self._shown} took a file and gave it no id")
        return file_id

    def create(self, file_id: str, endpoint: str, name: str) -> BatchStatus:
        """Start a batch over a file.

        Args:
            file_id: As `upload` gave it.
            endpoint: Path of its questions, `/v1/chat/completions`.
            name: Found again in the server's list; not secret.

        Raises:
            NoBatchLane: The server has no batches.
            JudgeUnavailable, JudgeRefusesUs: As for a question.
        """
        body = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": "24h",
            "metadata": {"spotcheck": name},
        }
        with self._errors_of(missing=NoBatchLane):
            response = self._connected().post("/batches", cast_to=_response(), body=body)
        return self._status(_document(response))

    def find(self, file_id: str) -> BatchStatus | None:
        """The batch that was made of a file, among the server's newest; None when there is none, or no list."""
        try:
            with self._errors_of(missing=BatchGone):
                response = self._get("/batches", {"limit": _LISTED})
        except (BatchGone, VerdictUnreadable):
            return None  # a server without a list
        listed = _document(response).get("data")
        mine = (
            [batch for batch in listed if isinstance(batch, dict) and batch.get("input_file_id") == file_id]
            if isinstance(listed, list)
            else []
        )
        return self._status(mine[0]) if mine else None

    def poll(self, batch_id: str) -> BatchStatus:
        """How a batch stands.

        Raises:
            BatchGone: The server does not know it.
            JudgeUnavailable, JudgeRefusesUs: As for a question.
        """
        with self._errors_of(missing=BatchGone):
            response = self._get(f"/batches/{_in_path(batch_id)}")
        return self._status(_document(response))

    def cancel(self, batch_id: str) -> BatchStatus:
        """Ask for a batch to end; what it has answered stays answered, and billed.

        Raises:
            BatchGone, JudgeUnavailable, JudgeRefusesUs: As for `poll`.
        """
        with self._errors_of(missing=BatchGone):
            response = self._connected().post(f"/batches/{_in_path(batch_id)}/cancel", cast_to=_response())
        return self._status(_document(response))

    def download(self, file_id: str, path: Path) -> None:
        """Store a file of answers.

        Raises:
            BatchGone: The server does not have it.
            JudgeUnavailable, JudgeRefusesUs: As for a question.
        """
        size = 0
        with self._errors_of(missing=BatchGone), path.open("wb") as file:
            client = self._connected().with_options(timeout=FILE_S)
            with client.files.with_streaming_response.content(_in_path(file_id)) as response:
                for chunk in response.iter_bytes(1 << 16):
                    size += len(chunk)
                    if size > FILE_LIMIT:
                        raise JudgeUnavailable(f"the judge at {self._shown} sends more than {FILE_LIMIT} bytes")
                    file.write(chunk)

    def delete(self, file_id: str) -> None:
        """Have a file forgotten: texts of runs should not lie at a provider for ever. A server may refuse."""
        with self._errors_of(missing=BatchGone):
            self._connected().delete(f"/files/{_in_path(file_id)}", cast_to=_response())

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _get(self, path: str, query: dict[str, object] | None = None) -> "httpx2.Response":
        return self._connected().get(path, cast_to=_response(), options={"params": query or {}})

    def _connected(self) -> "OpenAI":
        if self._client is None:
            from openai import OpenAI

            from worker.judge.http_client import file_client

            base_url, query = split_query(self._base_url)
            self._client = OpenAI(
                base_url=base_url,
                default_query=query,
                api_key=self._key or "none",
                max_retries=0,
                timeout=CALL_S,
                default_headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
                http_client=file_client(CALL_S, sends_key=bool(self._key)),
            )
        return self._client

    @contextmanager
    def _errors_of(self, missing: type[JudgeRefusesUs]) -> Iterator[None]:
        """What a server says instead of an answer becomes one of our errors."""
        import httpx2
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            status, raw = error.response.status_code, _body(error.response)
            complaint = read_complaint(raw)
            message = scrubbed(complaint.message, self._key) or "without a word"
            if status in _NO_LANE:
                raise missing(f"the judge at {self._shown} answers {status}: {message}") from None
            wait_s = retry_after_s(error.response.headers, datetime.now(UTC))
            raise error_for(
                status, complaint, judge=self._shown, model="of a batch", message=message, wait_s=wait_s
            ) from None
        except (openai.OpenAIError, httpx2.HTTPError, OSError, ValueError) as error:
            why = scrubbed(described(causes_of(error)[-1]), self._key)
            raise JudgeUnavailable(f"the judge at {self._shown} gave no usable answer: {why}") from None

    def _status(self, document: dict[str, Any]) -> BatchStatus:
        batch_id, counts = _identity(document.get("id")), document.get("request_counts")
        if batch_id is None:
            raise JudgeUnavailable(f"the judge at {self._shown} speaks of a batch without an id")
        completed = counts.get("completed") if isinstance(counts, dict) else None
        return BatchStatus(
            batch_id=batch_id,
            state=one_line(str(document.get("status")))[:40],
            completed=completed if isinstance(completed, int) and 0 <= completed < 1 << 31 else 0,
            output_file_id=_identity(document.get("output_file_id")),
            error_file_id=_identity(document.get("error_file_id")),
            input_file_id=_identity(document.get("input_file_id")),
            message=self._message(document.get("errors")),
        )

    def _message(self, errors: object) -> str | None:
        data = errors.get("data") if isinstance(errors, dict) else None
        first = data[0] if isinstance(data, list) and data else None
        if not isinstance(first, dict):
            return None
        words = [str(first[key]) for key in ("code", "message") if first.get(key)]
        return scrubbed(": ".join(words), self._key) or None


def _response() -> "type[httpx2.Response]":
    import httpx2

    return httpx2.Response


def _body(response: "httpx2.Response") -> bytes:
    try:
        return response.content
    except RuntimeError:  # a stream that was not read
        return b""


def _document(response: "httpx2.Response") -> dict[str, Any]:
    """The answer as an object; whatever it is instead has nothing in it."""
    try:
        document = orjson.loads(response.content[:ROW_LIMIT])
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _identity(value: object) -> str | None:
    """A server's id; None for null and for what cannot be one."""
    return value if isinstance(value, str) and 0 < len(value) <= _ID_CHARS and value.isprintable() else None


def _in_path(identity: str) -> str:
    """An id of a server as a part of a path: it may hold anything."""
    from urllib.parse import quote

    return quote(identity, safe="")
