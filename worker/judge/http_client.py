"""The HTTP client that the SDK is given: answers of bounded size, nothing kept from one call to the next.

Built from what the `openai` package documents: its own aiohttp and httpx2 clients, with httpx2's event hooks for what
must hold of every request. Imported when the first call is made: importing it costs a second.
"""

import zlib
from collections.abc import AsyncIterator, Iterator

import httpx2
from aiohttp.abc import AbstractCookieJar
from openai import DefaultAioHttpClient, DefaultHttpxClient

ANSWER_LIMIT = 4 * 1024 * 1024
"""Bytes of an answer; a verdict has a few thousand."""
CONNECT_S = 10.0
KEEPALIVE_S = 4.0
"""Below the 5 s after which uvicorn (vLLM, LiteLLM) hangs up: a reused connection must not die under a question."""
FILE_CONTENT = "/content"
"""The end of the path where a file's content is; whoever downloads it bounds it."""


def async_client(concurrency: int, *, sends_key: bool) -> httpx2.AsyncClient:
    """A client for questions; belongs to the event loop that first uses it.

    Proxies and certificates are those of the environment (HTTP_PROXY, NO_PROXY, SSL_CERT_FILE …). A whole request is
    timed by whoever makes it.

    Args:
        concurrency: Connections at the same time.
        sends_key: Whether the server wants a key; the SDK always sends one.
    """

    async def prepare(request: httpx2.Request) -> None:
        _prepare(request, sends_key)

    async def accept(response: httpx2.Response) -> None:
        if "set-cookie" in response.headers:
            _forget_cookies(client)
        inflater = _inflater(response)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream, inflater)

    client = DefaultAioHttpClient(
        timeout=httpx2.Timeout(None, connect=CONNECT_S),
        limits=httpx2.Limits(max_connections=concurrency, keepalive_expiry=KEEPALIVE_S),
        follow_redirects=False,
        event_hooks={"request": [prepare], "response": [accept]},
    )
    return client


def file_client(timeout_s: float, *, sends_key: bool) -> httpx2.Client:
    """A client for files and batches, for one thread.

    Args:
        timeout_s: Longest silence of the server.
        sends_key: Whether the server wants a key.
    """

    def accept(response: httpx2.Response) -> None:
        client.cookies.clear()
        if not response.request.url.path.endswith(FILE_CONTENT):
            _refuse_compressed(response)
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = _BoundedFileStream(response.stream)

    client = DefaultHttpxClient(
        follow_redirects=False,
        timeout=httpx2.Timeout(timeout_s, connect=CONNECT_S),
        event_hooks={"request": [lambda request: _prepare(request, sends_key)], "response": [accept]},
    )
    return client


def _prepare(request: httpx2.Request, sends_key: bool) -> None:
    """Takes away what the SDK tells about this machine, and the stand-in for a key where there is none."""
    unsent = (b"x-stainless-",) if sends_key else (b"x-stainless-", b"authorization")
    kept = [(name, value) for name, value in request.headers.raw if not name.lower().startswith(unsent)]
    request.headers = httpx2.Headers(kept)


class _Inflater:
    """Unpacks gzip and zlib as they arrive, up to ANSWER_LIMIT: four megabytes could unfold to gigabytes."""

    def __init__(self) -> None:
        self._unpacking = zlib.decompressobj(wbits=47)  # either, by its header
        self._size = 0

    def unpacked(self, chunk: bytes) -> bytes:
        try:
            data = self._unpacking.decompress(chunk, ANSWER_LIMIT + 1 - self._size)
        except zlib.error as error:
            raise httpx2.ReadError(f"the answer is compressed, and cannot be unpacked: {error}") from None
        self._size += len(data)
        _refuse_longer(self._size)
        return data

    def end(self) -> None:
        if not self._unpacking.eof:
            raise httpx2.ReadError("the answer is compressed, and its end is missing")


def _inflater(response: httpx2.Response) -> _Inflater | None:
    """What unpacks an answer of a server that compresses unasked; None where there is nothing to unpack.

    Raises:
        httpx2.ReadError: It is compressed in another way.
    """
    if response.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        _refuse_compressed(response)
        return None
    del response.headers["content-encoding"]  # httpx2 would unpack it without a bound
    return _Inflater()


def _refuse_compressed(response: httpx2.Response) -> None:
    """Four megabytes could unfold to gigabytes.

    Raises:
        httpx2.ReadError: It is compressed.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.ReadError("the answer is compressed, though an uncompressed one was asked for")


def _forget_cookies(client: httpx2.AsyncClient) -> None:
    """Forgets what a server wants remembered: no call tells the server of another.

    httpx2's own cookies have a public way. The aiohttp session below the SDK's transport keeps a second jar, and no
    documented parameter reaches it: `DefaultAioHttpClient` makes the session itself, aiohttp sends what its jar holds
    whatever the request says, and a transport of our own with a `DummyCookieJar` would lose the SDK's reading of the
    proxies in the environment, which httpx2 leaves out where a transport is given. So the jars are looked for, directly
    and behind proxies. Where a later release keeps them elsewhere, nothing is found and calls go on, with cookies;
    `test_what_a_server_wants_remembered_is_forgotten` then fails.
    """
    client.cookies.clear()
    direct, by_proxy = getattr(client, "_transport", None), getattr(client, "_mounts", {})
    for transport in (direct, *by_proxy.values()):
        jar = getattr(getattr(transport, "client", None), "cookie_jar", None)
        if isinstance(jar, AbstractCookieJar):
            jar.clear()


class _BoundedStream(httpx2.AsyncByteStream):
    """A body that ends in an error behind ANSWER_LIMIT: httpx2 would read one without end until memory ran out."""

    def __init__(self, stream: httpx2.AsyncByteStream, inflater: _Inflater | None) -> None:
        self._stream, self._inflater = stream, inflater

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            _refuse_longer(size)
            yield chunk if self._inflater is None else self._inflater.unpacked(chunk)
        if self._inflater is not None:
            self._inflater.end()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedFileStream(httpx2.SyncByteStream):
    """As `_BoundedStream`, without an event loop."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            _refuse_longer(size)
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _refuse_longer(size: int) -> None:
    if size > ANSWER_LIMIT:
        raise httpx2.ReadError(f"the answer is longer than {ANSWER_LIMIT} bytes")
