"""Which tests `make test` runs, and which only `make test-all`: a plugin of pytest, used by the root conftest.

Left out by default are tests marked `slow` (simulations, long fault stories) and the PostgreSQL twins of tests whose
subject is logic rather than SQL: a test that runs on both stores, in one of the folders below, unless it is marked
`both_stores`. The SQL itself is tested in `tests/store`, and every command on both stores by the command matrix.
`--both-stores` and `--slow` add them; `--rest` runs only what is left out by default, so that a default run and a
`--rest` run together run each test once. Tests marked `long` (more seeds and more combinations of what the others
show already) do not fit CI's time: only `--long` runs them. Whoever names single tests (`file.py::test`) gets them.
"""

import pytest

LOGIC = ("jobs", "pipeline", "stories")
"""Folders of `tests/` whose tests use a store without being about it."""
STORES = ("database_url", "store")
"""Fixtures that come once with SQLite and once with PostgreSQL."""


def add_options(parser: pytest.Parser) -> None:
    """Called by pytest's hook for options."""
    group = parser.getgroup("spotcheck")
    group.addoption("--both-stores", action="store_true", help="also the PostgreSQL twins of tests about logic")
    group.addoption("--slow", action="store_true", help="also simulations and long fault stories")
    group.addoption("--long", action="store_true", help="also what does not fit CI's time")
    group.addoption("--rest", action="store_true", help="only what is left out without these options")


def is_twin(item: pytest.Item) -> bool:
    """Whether a test repeats on PostgreSQL what its SQLite twin shows about logic."""
    folder = item.nodeid.split("/")[1] if item.nodeid.count("/") > 1 else ""
    if folder not in LOGIC or item.get_closest_marker("both_stores") is not None:
        return False
    given = getattr(getattr(item, "callspec", None), "params", {})
    return any(given.get(store) == "postgresql" for store in STORES)


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop what the options leave out. Called by pytest's hook after collecting."""
    if any("::" in argument for argument in config.args):
        return
    only_rest = config.getoption("--rest")
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        twin, slow = is_twin(item), item.get_closest_marker("slow") is not None
        is_left_out = (twin and not config.getoption("--both-stores")) or (slow and not config.getoption("--slow"))
        if only_rest:
            is_left_out = not (twin or slow)
        is_left_out |= item.get_closest_marker("long") is not None and not config.getoption("--long")
        (dropped if is_left_out else kept).append(item)
    items[:] = kept
    if dropped:
        config.hook.pytest_deselected(items=dropped)
