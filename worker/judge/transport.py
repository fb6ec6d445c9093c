"""The way to a judge's server: connections, limits and timeouts, and what may be shown of what it says."""

import asyncio
import contextlib
import socket
import ssl
import time
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr

from worker.errors import JudgeRefusesUs, JudgeUnavailable
from worker.judge.address import scrubbed, shown_url, usable_key

if TYPE_CHECKING:
    import aiohttp
    import yarl
    from openai import AsyncOpenAI

ANSWER_LIMIT = 4 * 1024 * 1024
"""Bytes of an answer; a verdict has a few thousand."""

CONNECT_S = 10.0
KEEPALIVE_S = 4.0
"""Below the 5 s after which uvicorn (vLLM, LiteLLM) hangs up: a reused connection must not die under a question."""

SDK_HEADERS = tuple(
    f"X-Stainless-{name}" for name in ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
)


class HttpResponse(NamedTuple):
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
        import httpcore2  # noqa: F401
        import openai.lib._client_auth  # noqa: F401


class _Way(NamedTuple):
    """Where requests of one kind go."""

    url: "yarl.URL"
    headers: Mapping[str, str]
    proxy: str | None


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
        self._session: aiohttp.ClientSession
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
        import aiohttp
        import httpx2
        from openai import AsyncOpenAI, Omit

        trusted = httpx2.create_ssl_context()  # the SDK's: SSL_CERT_FILE and all
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.concurrency, keepalive_timeout=KEEPALIVE_S, ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),  # `post` times the whole request
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        # Compressed answers are not asked for, and refused by `_body`: four megabytes could unfold to gigabytes.
        headers: dict[str, Any] = {"User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        # What the SDK tells about this machine is nobody's business.
        headers |= dict.fromkeys(SDK_HEADERS, Omit())
        self._ways.clear()
        return AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._key or "none",
            max_retries=0,
            default_headers=headers,
            http_client=httpx2.AsyncClient(verify=trusted, follow_redirects=False),
        )

    def _way(self, client: "AsyncOpenAI", path: str) -> "_Way":
        """Where requests of one kind go, and what they carry: as the SDK has it."""
        import yarl

        given = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        given |= client.auth_headers if self._key else {}
        base = client.base_url
        url = yarl.URL(str(base.copy_with(path=base.path.rstrip("/") + path)), encoded=True)
        self._ways[path] = _Way(url, given, _proxy_for(url))
        return self._ways[path]

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
        import openai

        started = time.perf_counter()
        try:
            client = self.connect()
            way = self._ways.get(path) or self._way(client, path)
            async with asyncio.timeout(self.timeout_s):
                # not the SDK's own verbs, nor its client around these connections: 1.1 ms of a call's 1.4
                asking = self._session.post(
                    way.url, data=body, headers=way.headers, proxy=way.proxy, allow_redirects=False
                )
                async with asking as response:
                    raw = await _body(response)
        except aiohttp.ServerTimeoutError:  # one of aiohttp's that is a TimeoutError too
            said = (
                f"the judge at {self.shown} gave no usable answer: "
                f"no connection within {CONNECT_S:g} s; http:// or https://?"
            )
            raise JudgeUnavailable(said, is_for_all=True) from None
        except TimeoutError:
            said = f"the judge at {self.shown} gave no answer within {self.timeout_s:g} s"
            raise JudgeUnavailable(said, is_for_all=not is_proven) from None
        except (openai.OpenAIError, aiohttp.ClientError, OSError, ValueError) as exc:
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
        return HttpResponse(response.status, response.headers, raw, latency_ms)

    async def close(self) -> None:
        """Closes the connections, in the loop that opened them; the object can then be used in another loop."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.close()
            await self._session.close()

    def scrubbed(self, text: str) -> str:
        """What may be shown of the server's words."""
        return scrubbed(text, self._key)


async def _body(response: "aiohttp.ClientResponse") -> bytes:
    """An answer as far as ANSWER_LIMIT; aiohttp would read one without end until memory ran out.

    Raises:
        aiohttp.ClientPayloadError: It is longer, or compressed.
    """
    import aiohttp

    if response.headers.get("content-encoding", "identity") != "identity":
        raise aiohttp.ClientPayloadError("the answer is compressed, though an uncompressed one was asked for")
    if response.content_length is not None and response.content_length <= ANSWER_LIMIT:
        return await response.read()  # the parser reads no more than was announced
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > ANSWER_LIMIT:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {ANSWER_LIMIT} bytes")
    return b"".join(chunks)


def _proxy_for(url: "yarl.URL") -> str | None:
    """The proxy that the environment names for an address, as the SDK would use it; None for none."""
    host = url.host or ""
    if urllib.request.proxy_bypass(host) or urllib.request.proxy_bypass(f"{host}:{url.port}"):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _root_cause(exc: BaseException) -> BaseException:
    """The innermost cause: aiohttp says that it cannot connect, and the error behind it says why."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return exc


_NOT_REACHED = (ConnectionRefusedError, socket.gaierror)


def _is_wrong_tls(cause: BaseException) -> bool:
    """A certificate nobody vouches for, or no TLS at all: trying again helps neither."""
    reason = getattr(cause, "reason", None)
    return isinstance(cause, ssl.SSLCertVerificationError) or reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")


def _told(cause: BaseException) -> str:
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
