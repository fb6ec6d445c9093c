"""The way to a judge's server: connections, limits and timeouts, and what may be shown of what it says."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr

from worker.errors import JudgeRefusesUs, JudgeUnavailable
from worker.judge.address import scrubbed, shown_url, usable_key

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

ANSWER_LIMIT = 4 * 1024 * 1024
"""Bytes of an answer; a verdict has a few thousand."""

CONNECT_S = 10.0
KEEPALIVE_S = 4.0
"""Below the 5 s after which uvicorn (vLLM, LiteLLM) hangs up: a reused connection must not die under a question."""

SDK_HEADERS = tuple(
    f"X-Stainless-{name}" for name in ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
)


class Answered(NamedTuple):
    """A server's answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    latency_ms: float


def preload() -> None:
    """Imports what a question needs: 1.5 s of CPU that a worker's parent pays once before it forks."""
    import aiohttp  # noqa: F401
    import openai

    with contextlib.suppress(ImportError):  # parts that the first call would import; where they lie may change
        import openai._vendor.httpx_aiohttp.transport
        import openai.lib._client_auth  # noqa: F401


class _Way(NamedTuple):
    """Where requests of one kind go."""

    url: "httpx2.URL"
    headers: list[tuple[str, str]]


class Transport:
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
        self._http: httpx2.AsyncClient
        self._ways: dict[str, _Way] = {}
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
        import httpx2
        from openai import AsyncOpenAI, DefaultAioHttpClient, Omit

        limits = httpx2.Limits(
            max_connections=self.concurrency,
            max_keepalive_connections=self.concurrency,
            keepalive_expiry=KEEPALIVE_S,
        )
        self._http = DefaultAioHttpClient(
            limits=limits,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),  # `post` times the whole request
            follow_redirects=False,  # a run's content goes nowhere but where the settings say
            event_hooks={"response": [_cap]},
        )
        # Compressed answers are not asked for, and refused by `_cap`: four megabytes of them could unfold to gigabytes.
        headers: dict[str, Any] = {"User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        # What the SDK tells about this machine is nobody's business, and every header is copied four times a call.
        headers |= dict.fromkeys(SDK_HEADERS, Omit())
        self._ways.clear()
        return AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._key or "none",
            max_retries=0,
            default_headers=headers,
            http_client=self._http,
        )

    def _way(self, client: "AsyncOpenAI", path: str) -> "_Way":
        """Where requests of one kind go, and what they carry: as the SDK has it."""
        given = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        given |= client.auth_headers if self._key else {}
        base = client.base_url
        self._ways[path] = _Way(base.copy_with(path=base.path.rstrip("/") + path), list(given.items()))
        return self._ways[path]

    async def post(self, path: str, body: bytes, *, is_proven: bool) -> Answered:
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

        client = self.connect()
        way = self._ways.get(path) or self._way(client, path)
        started = time.perf_counter()
        try:
            # not the SDK's own verbs: they build each request anew from options, for 0.8 ms of a call's 1.4
            request = httpx2.Request("POST", way.url, headers=way.headers, content=body)
            async with asyncio.timeout(self.timeout_s):
                response = await self._http.send(request)
        except TimeoutError:
            said = f"the judge at {self.shown} gave no answer within {self.timeout_s:g} s"
            raise JudgeUnavailable(said, is_for_all=not is_proven) from None
        # Beside the SDK's own errors its transport lets some of aiohttp's through, and JSONDecodeError is a ValueError.
        except (openai.OpenAIError, httpx2.HTTPError, aiohttp.ClientError, OSError, ValueError) as exc:
            cause = _root_cause(exc)
            if _is_wrong_tls(cause):
                why = self.scrubbed(str(cause))
                raise JudgeRefusesUs(
                    f"the judge at {self.shown} cannot be trusted or speaks no TLS ({why}); "
                    "check OPENAI_BASE_URL, or SSL_CERT_FILE for a certificate of your own"
                ) from None
            why = self.scrubbed(_told(cause))
            is_for_all = not is_proven or isinstance(cause, _NOT_REACHED)
            said = f"the judge at {self.shown} gave no usable answer: {why}"
            raise JudgeUnavailable(said, is_for_all=is_for_all) from None
        latency_ms = (time.perf_counter() - started) * 1000
        return Answered(response.status_code, response.headers, response.content, latency_ms)

    async def close(self) -> None:
        """Closes the connections, in the loop that opened them; the object can then be used in another loop."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.close()

    def scrubbed(self, text: str) -> str:
        """What may be shown of the server's words."""
        return scrubbed(text, self._key)


async def _cap(response: "httpx2.Response") -> None:
    """Reads an answer as far as ANSWER_LIMIT; the SDK would read one without end until memory ran out."""
    import httpx2

    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.DecodingError("the answer is compressed, though an uncompressed one was asked for")
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)
    chunks, size = [], 0
    async for chunk in stream:
        chunks.append(chunk)
        size += len(chunk)
        if size > ANSWER_LIMIT:
            raise httpx2.ReadError(f"the answer is longer than {ANSWER_LIMIT} bytes")
    await stream.aclose()
    response.stream = httpx2.ByteStream(b"".join(chunks))


def _root_cause(exc: BaseException) -> BaseException:
    """The innermost cause: the SDK says `Connection error.` and its transport mistakes refusals for timeouts."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return exc


_NOT_REACHED = (ConnectionRefusedError, socket.gaierror, asyncio.CancelledError)


def _is_wrong_tls(cause: BaseException) -> bool:
    """A certificate nobody vouches for, or no TLS at all: trying again helps neither."""
    reason = getattr(cause, "reason", None)
    return isinstance(cause, ssl.SSLCertVerificationError) or reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def _told(cause: BaseException) -> str:
    if isinstance(cause, asyncio.CancelledError):  # how its transport ends a connection that does not come about
        return f"no connection within {CONNECT_S:g} s; http:// or https://?"
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
