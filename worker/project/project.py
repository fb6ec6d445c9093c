"""One installation of Spotcheck: its settings, its store, and what is built from the two."""

import secrets
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from worker.project.nights import Nights
from worker.project.prices import PriceBook
from worker.settings import Settings
from worker.store import meta, schema
from worker.store.engine import Store

if TYPE_CHECKING:  # they bring the tables of the queue, and half of the commands ask no scorer
    from worker.project.lanes import Lanes
    from worker.project.scorers import ScorerSet
    from worker.project.stored import StoredScorers

_SECRET = "prompt_secret"  # noqa: S105 the key under which the secret is kept, not the secret


class Project:
    """One installation, made by a command or a worker and handed down. Holds no connection until one is used."""

    def __init__(
        self, settings: Settings, store: Store | None = None, on_notice: Callable[[str], None] | None = None
    ) -> None:
        """Name a project; nothing is opened yet.

        Args:
            settings: As read from the environment and `spotcheck.toml`.
            store: Where everything is kept; by default the database that the settings name.
            on_notice: Gets a line for each scorer with a new series or none at all; else the log does.
        """
        self.settings = settings
        self._on_notice = on_notice
        self.store = store or Store(settings.database)
        self.known_revision: int | None = None
        """The newest revision that is known to hold these settings, or was there when they were read; None for a
        command, whose settings are read now and may always become active."""

    def open(self, *, creates: bool = True) -> "Project":
        """Create the schema in an empty database, or insist on the right one.

        Args:
            creates: Whether a database that is missing or empty is made.

        Raises:
            SchemaOutdated: The database belongs to another version.
            StoreMissing: There is none, and none may be made.
        """
        schema.ensure(self.store, creates=creates)
        return self

    @cached_property
    def secret(self) -> bytes:
        """32 random bytes, made once an installation; key the fences around run data in prompts."""
        with self.store.read() as connection:
            existing = meta.get_meta(connection, _SECRET)
        if existing is None:
            with self.store.write() as connection:
                existing = meta.set_meta_once(connection, _SECRET, secrets.token_hex(32))
        return bytes.fromhex(existing)

    @cached_property
    def nights(self) -> Nights:
        """Which night a time belongs to, and which nights are due."""
        return Nights(self.settings, self.store)

    @cached_property
    def scorers(self) -> "ScorerSet":
        """The scorers that the next draw would enrol, and those that are active."""
        from worker.project.scorers import ScorerSet

        scorers = ScorerSet(self.settings, self.store, lambda: self.secret)
        if self._on_notice is not None:
            scorers.on_told = scorers.heuristics.on_left_out = self._on_notice
        return scorers

    @cached_property
    def stored(self) -> "StoredScorers":
        """The scorers that jobs were enrolled with."""
        from worker.project.stored import StoredScorers

        return StoredScorers(
            self.settings,
            self.store,
            lambda: self.secret,
            lambda connection: self.scorers.configured(connection),
            lambda: self.scorers.drafts.rubrics,
            lambda: self.scorers.heuristics.broken,
        )

    @cached_property
    def lanes(self) -> "Lanes":
        """Which jobs go to the batch lane."""
        from worker.project.lanes import Lanes

        return Lanes(self.settings, self.store, self.stored)

    @cached_property
    def prices(self) -> PriceBook:
        """What judge calls cost."""
        return PriceBook(self.settings.judge, self.scorers)
