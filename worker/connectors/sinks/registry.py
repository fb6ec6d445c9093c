"""The sinks there are. One is registered by its address, `Variable(…, sink="NAME")` in `settings/addresses.py`."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import cast

from worker.connectors.http import HttpClient
from worker.connectors.sinks.sink import Sink, SinkModule
from worker.settings import VARIABLES, Settings


def names() -> list[str]:
    """Every sink, in use or not, in the order of their addresses."""
    return [variable.sink for variable in VARIABLES.values() if variable.sink is not None]


def in_use(settings: Settings) -> Mapping[str, Callable[[HttpClient], Sink]]:
    """What makes each sink that has an address; nothing is imported or opened yet."""
    return {name: partial(build, name, settings) for name in settings.sinks}


def build(name: str, settings: Settings, http: HttpClient) -> Sink:
    """A sink; its module is imported here, since most processes deliver nothing.

    Raises:
        SettingsError: What is set for it cannot be used.
    """
    module = cast(SinkModule, import_module(f"{__package__}.{name}"))
    return module.build(settings, http)
