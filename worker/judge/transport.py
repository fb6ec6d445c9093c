"""The way to a judge's server: the `openai` package's client, one timeout for a whole request, and errors in our words.

The SDK is used as its makers document it: `AsyncOpenAI` over its aiohttp client, the generic verb `post` with a body
that is ready to send, `max_retries=0` (where a question is asked again is drawn in `judge.retrying`). So its proxies,
organisations, certificates and Azure addresses are those of every other program that uses it. That costs about a
millisecond of CPU a call more than aiohttp alone; its typed `create` costs three milliseconds more (ENGINE E).
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr

from worker.errors import JudgeRefusesUs, JudgeUnavailable
from worker.judge.address import scrubbed, shown_url, split_query, usable_key
from worker.judge.failures import causes_of, described

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class HttpResponse(NamedTuple):
    """A server's answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    raw: bytes
    latency_ms: float


def preload() -> None:
    """Imports what a question needs: 1.5 s of CPU that a worker's parent pays once before it forks."""
    import aiohttp  # noqa: F401 only to be there before the first call

    import worker.judge.http_client  # noqa: F401 as above


class JudgeTransport:
    """Posts to one server over kept connections; serves one event loop at a time, and is closed in it."""

    def __init__(
        self, base_url: str | None, api_key: SecretStr | None, *, timeout_s: float, concurrency: int, user_agent: str
    ) -> None:
        """Prepare the way; nothing is connected or imported yet. See `ChatJudge`.

        Raises:
            SettingsError: The address is no http(s) URL or carries a password, or the key cannot stand in a header.
        """
        self.base_url = base_url or None
        self.shown = shown_url(self.base_url)
        """The address as messages show it."""
        self.timeout_s = timeout_s
        self.concurrency = concurrency
        self._user_agent = user_agent
        self._key = usable_key(api_key)
        self._client: AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def connect(self) -> "AsyncOpenAI":
        """The client of the running loop; connections are opened when first needed."""
        loop = asyncio.get_running_loop()
        if self._client is None:
            self._client, self._loop = self._connect(), loop
        elif self._loop is not loop:
            raise RuntimeError("a ChatJudge serves one event loop; close it there before using it in another")
        return self._client

    def _connect(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI

        from worker.judge.http_client import async_client

        base_url, query = split_query(self.base_url)
        return AsyncOpenAI(
            base_url=base_url,
            default_query=query,
            api_key=self._key or "none",
            max_retries=0,
            timeout=None,  # `post` times the whole request
            # compressed answers are refused: they are not asked for
            default_headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
            http_client=async_client(self.concurrency, sends_key=bool(self._key)),
        )

    async def post(self, path: str, body: bytes, *, is_proven: bool) -> HttpResponse:
        """Sends one request, and reads its answer whatever its status.

        Args:
            path: Behind the base URL.
            body: JSON.
            is_proven: Whether the server has answered a question before; else its trouble is everybody's.

        Raises:
            JudgeUnavailable: No usable answer came.
            JudgeRefusesUs: It cannot be trusted, or speaks no TLS.
        """
        import aiohttp
        import httpx2
        import openai

        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await self.connect().post(path, cast_to=httpx2.Response, content=body)
        except openai.APIStatusError as error:
            response = error.response
        except TimeoutError:
            message = f"the judge at {self.shown} gave no answer within {self.timeout_s:g} s"
            raise JudgeUnavailable(message, is_for_all=not is_proven) from None
        except (openai.OpenAIError, httpx2.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
            raise self._error(error, is_proven) from None
        return HttpResponse(
            response.status_code, response.headers, response.content, (time.perf_counter() - started) * 1000
        )

    def _error(self, error: Exception, is_proven: bool) -> JudgeUnavailable | JudgeRefusesUs:
        """What kept an answer from coming, as one of our errors."""
        import aiohttp

        from worker.judge.http_client import CONNECT_S

        causes = causes_of(error)
        if any(isinstance(cause, aiohttp.ServerTimeoutError) for cause in causes):
            message = (
                f"the judge at {self.shown} gave no usable answer: "
                f"no connection within {CONNECT_S:g} s; http:// or https://?"
            )
            return JudgeUnavailable(message, is_for_all=True)
        cause = causes[-1]
        if _is_wrong_tls(cause):
            why = self.scrubbed(str(cause))
            return JudgeRefusesUs(
                f"the judge at {self.shown} cannot be trusted or speaks no TLS ({why}); "
                "check OPENAI_BASE_URL, or SSL_CERT_FILE for a certificate of your own"
            )
        why = self.scrubbed(described(cause))
        is_for_all = not is_proven or isinstance(cause, _NOT_REACHED)
        return JudgeUnavailable(f"the judge at {self.shown} gave no usable answer: {why}", is_for_all=is_for_all)

    async def close(self) -> None:
        """Closes the connections, in the loop that opened them; the object can then be used in another loop."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.close()

    def scrubbed(self, text: str) -> str:
        """What may be shown of the server's words."""
        return scrubbed(text, self._key)


_NOT_REACHED = (ConnectionRefusedError, socket.gaierror)


def _is_wrong_tls(cause: BaseException) -> bool:
    """A certificate nobody vouches for, or no TLS at all: trying again helps neither."""
    reason = getattr(cause, "reason", None)
    return isinstance(cause, ssl.SSLCertVerificationError) or reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
