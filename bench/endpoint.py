"""The fast endpoint of ../shared/bench/mock_openai.py, in a process of its own: started, set, and asked for counts."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

MOCK = Path(__file__).resolve().parents[2] / "shared" / "bench" / "mock_openai.py"


@contextmanager
def mock(latency_ms: float) -> Iterator[str]:
    """The fast endpoint, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(MOCK), "--port", str(port), "--latency-ms", str(latency_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def config(url: str, values: dict[str, float]) -> None:
    """Change the endpoint at run time, and count from zero."""
    for path, body in (("/config", orjson.dumps(values)), ("/reset", b"{}")):
        request = urllib.request.Request(url + path, data=body, headers={"Content-Type": "application/json"})
        urllib.request.urlopen(request).read()


def stats(url: str) -> dict[str, Any]:
    """What the endpoint counted."""
    found: dict[str, Any] = orjson.loads(urllib.request.urlopen(url + "/stats").read())
    return found
