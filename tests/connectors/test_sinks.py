"""The sinks there are: each has an address, and each is held to the contract."""

import re
from pathlib import Path

from worker.connectors.sinks import registry, sink

SHARED = {module.__name__.rpartition(".")[2] for module in (registry, sink)}
"""What sinks are made with."""


def test_every_sink_in_the_folder_has_an_address_and_is_held_to_the_contract() -> None:
    modules = {path.stem for path in Path(registry.__file__).parent.glob("*.py")} - {"__init__", *SHARED}
    assert sorted(registry.names()) == sorted(modules)
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert set(re.findall(r'\(SinkContract\):\n(?:    .*\n)*?    name = "(\w+)"', tests)) == modules
