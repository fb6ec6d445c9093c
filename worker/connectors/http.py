"""HTTP to other systems: a time for the whole call, no redirects, bounded answers, trouble as a value.

The judge has a transport of its own; this one is for sources and sinks.
"""

import asyncio
import math
import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from worker.errors import SettingsError

if TYPE_CHECKING:  # half a tenth of a second to import, and most processes send nothing
    import httpx2

TIMEOUT_S = 10.0
"""For one call in all: to connect, to send, and to read the answer however slowly it drips."""
_ANSWER_BYTES = 4_000
"""Read of an answer; nobody needs more of it than a line for a person."""
_LONGEST_RETRY_AFTER_S = 3_600.0
"""A destination that asks for more is asked again after an hour: one wrong header must not silence it for a day."""
_SHOWN_CHARS = 120


class HttpAnswer(NamedTuple):
    """What came back, or that nothing did."""

    status: int | None
    """The HTTP status; None when there was no answer."""
    body: bytes
    """The beginning of the answer, not unpacked."""
    text: str
    """The answer, or what went wrong, as one printable line."""
    retry_after_s: float | None = None
    """What the server asked to wait, seconds, 0 to an hour; None when it said nothing."""


class HttpClient:
    """Calls to other systems, one after the other, over connections that are kept until it is closed.

    For one thread, and not inside a running event loop. Proxies and certificates come from the environment, as in every
    Python program (`HTTPS_PROXY`, `SSL_CERT_FILE`).
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        """Name a client; nothing is opened before the first call.

        Args:
            timeout_s: Longest time for one call in all.
        """
        self._timeout_s = timeout_s
        self._runner: asyncio.Runner | None = None
        self._client: httpx2.AsyncClient | None = None

    def __enter__(self) -> "HttpClient":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection."""
        runner, client = self._runner, self._client
        self._runner = self._client = None
        if runner is not None:
            if client is not None:
                runner.run(client.aclose())
            runner.close()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Send one body; never raises for what the other side does.

        Args:
            url: Where to, http or https. No redirect is followed: it would carry the body to somebody nobody named.
            body: Sent as it is.
            headers: Beside those of every call.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        # asyncio, since only a task that can be cancelled ends in time when the other side drips a byte a second
        return self._runner.run(self._post(url, body, headers))

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(
                timeout=self._timeout_s,
                follow_redirects=False,
                verify=ssl.create_default_context(),
                headers={"user-agent": "spotcheck", "accept-encoding": "identity"},
            )
        status: int | None = None
        retry_after_s: float | None = None
        answer = b""
        try:  # a call that takes too long ends in a TimeoutError, which is an OSError
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", url, content=body, headers=headers) as response,
            ):
                status = response.status_code
                retry_after_s = retry_after(response.headers.get("retry-after"))
                async for part in response.aiter_raw():
                    answer += part[: _ANSWER_BYTES - len(answer)]
                    if len(answer) >= _ANSWER_BYTES:
                        break
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ExceptionGroup) as error:
            if status is None:
                return HttpAnswer(None, b"", self._trouble(error))
        text = f"HTTP {status} {one_line(answer.decode('utf-8', 'replace'))}".strip()
        return HttpAnswer(status, answer, text, retry_after_s)

    def _trouble(self, error: Exception) -> str:
        import httpx2

        if isinstance(error, TimeoutError | httpx2.TimeoutException):
            return f"no answer within {self._timeout_s:g} seconds"
        cause: BaseException | None = error
        while cause is not None:  # the library's own words hide why: "All connection attempts failed"
            if isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, ssl.SSLError):
                return os.strerror(cause.errno) if cause.errno > 0 else one_line(str(cause))
            cause = cause.__cause__ or cause.__context__
        return one_line(str(error)) or type(error).__name__


def checked(url: SecretStr | None, variable: str) -> str:
    """An address to call, with its secret.

    Args:
        url: From the settings.
        variable: Its name, for the message.

    Raises:
        SettingsError: Not an http or https URL with a host; the message does not repeat it.
    """
    text = "" if url is None else url.get_secret_value()
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond 65535, half an IPv6 address
        is_address = False
    if not is_address:
        raise SettingsError(f"{variable} is not an address; write https://HOST/PATH")
    return text


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """What a `Retry-After` header asks for, seconds, at most an hour; None when it asks for nothing that is understood.

    Args:
        value: The header: seconds, or a date (RFC 9110, §10.2.3).
        now: The time a date is counted from; the real one when not given.

    Example:
        >>> retry_after("120"), retry_after("soon"), retry_after("-5"), retry_after("1e9")
        (120.0, None, 0.0, 3600.0)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, OverflowError):  # a date without a zone cannot be subtracted
            return None
    return max(0.0, min(seconds, _LONGEST_RETRY_AFTER_S)) if not math.isnan(seconds) else None


def one_line(text: str) -> str:
    """One printable line, 120 characters at most: the other side is not to write on a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_SHOWN_CHARS]
