"""Real runs and attack strings beside the repository, which are not part of it; and a made-up excerpt that is.

The terms of the real data say that none of it is copied into the project. `tests/data/` holds runs and strings of our
own with the same peculiarities, so that every test of them runs everywhere; the real ones are looked at where they are.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
MADE_UP = Path(__file__).resolve().parents[1] / "data"
FOLDERS = ("made up", "real")
"""What `rows` takes, for tests that look at both."""


def shared(name: str) -> Path:
    """A file of the shared data. Absent: on a laptop the test skips and says why, in CI it fails."""
    path = SHARED / name
    if not path.exists():
        said = f"../shared/data/{name} is not here; the made-up rows in tests/data were looked at"
        if servers.in_ci():
            pytest.fail(said)
        pytest.skip(said)
    return path


def rows(kind: str, name: str) -> list[dict[str, Any]]:
    """The rows of `runs` or `injections`, made up or real."""
    if kind == "made up":
        text = (MADE_UP / f"{name}.jsonl").read_text("utf-8")
    elif name == "runs":
        with gzip.open(shared("runs.jsonl.gz"), "rt", encoding="utf-8") as stream:
            text = stream.read()
    else:
        text = shared(f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]
