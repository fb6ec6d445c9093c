"""What every arrow needs: settings, store, the installation's secret, and the scorers in force."""

import difflib
import secrets
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping

from worker.core import calendar, schedule
from worker.errors import SettingsError
from worker.judge.prices import PriceOverride, price
from worker.records import Reference
from worker.settings import Settings
from worker.settings.sections_judge import JudgeLane
from worker.store import meta, schema
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.queue.enrol import Registered
from worker.store.runs import references

if TYPE_CHECKING:  # scorers bring templates and schemas with them, and half of the commands ask no scorer
    from worker.scorers.protocol import Context, MostTokens, Scorer

_SECRET = "prompt_secret"  # noqa: S105 the key under which the secret is kept, not the secret
_START = "start_night"


class Project:
    """One installation, opened by a door and handed down. Holds no connection until one is used."""

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        """Name a project; nothing is opened yet."""
        self.settings = settings
        self.store = store or Store(settings.database)
        self.lane: JudgeLane | None = None
        """How judges are asked where a person said so for once; None as the settings have it."""
        self.is_replaying = False
        """While history is replayed night by night: what is found is stored, and nothing leaves for outside."""

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
        """Made once an installation; keys the fences around run data in prompts."""
        with self.store.read() as connection:
            known = meta.get_meta(connection, _SECRET)
        if known is None:
            with self.store.write() as connection:
                known = meta.set_meta_once(connection, _SECRET, secrets.token_hex(32))
        return bytes.fromhex(known)

    @cached_property
    def prompt_folders(self) -> list[Path]:
        """Where rubrics come from, the later laid over the earlier: shipped, then the user's."""
        from worker.scorers.rubric.files import shipped_prompts

        own = self.settings.prompts
        if own is not None:
            if not Path(own).is_dir():
                raise SettingsError(f"SPOTCHECK_PROMPTS: folder {own!r} does not exist")
            return [shipped_prompts(), Path(own)]
        beside = Path("prompts")
        is_other = beside.is_dir() and beside.resolve() != shipped_prompts().resolve()
        return [shipped_prompts(), beside] if is_other else [shipped_prompts()]

    @cached_property
    def scorers(self) -> "tuple[Scorer, ...]":
        """The scorers in force, heuristics first, in a stable order.

        Raises:
            SettingsError: A name is unknown; says which are known.
            RubricError: A rubric in force is wrong.
        """
        from worker.scorers.registry import SCORERS
        from worker.scorers.rubric.files import load
        from worker.scorers.rubric.scorer import RubricScorer

        policy, judge = self.settings.scoring, self.settings.judge
        names = list(SCORERS) if policy.heuristics is None else policy.heuristics
        heuristics: list[Scorer] = [SCORERS[_known("scoring.heuristics", name, SCORERS)] for name in names]
        if not policy.rubrics and not judge.budgets:
            return tuple(heuristics)
        rubrics = load(self.prompt_folders)
        for name in judge.lanes:
            _known("judge.lanes", name, rubrics)
        for name in judge.budgets:
            _known("judge.budgets", name, rubrics)
        model = judge.model if self.settings.is_judge_configured else None
        judged = [
            RubricScorer(
                rubrics[_known("scoring.rubrics", name, rubrics)],
                model,
                self.secret,
                redact=policy.redact,
                repair=judge.repair,
                is_routed=judge.base_url is None,  # OpenAI's own
            )
            for name in policy.rubrics
        ]
        return (*heuristics, *judged)

    def register(self) -> "list[tuple[Registered, Scorer]]":
        """The scorers in force with their keys in the store."""
        wanted = [(one.key, one.applies_to) for one in self.scorers]
        with self.store.read() as connection:
            known = {one.key.fingerprint: one for one in enrol.registered(connection)}
        if not all(key.fingerprint in known for key, _ in wanted):
            with self.store.write() as connection:
                found = enrol.register(connection, wanted, self.store.now(connection))
            known = {one.key.fingerprint: one for one in found}
        return [(known[one.key.fingerprint], one) for one in self.scorers]

    def in_batches(self, *, is_backfill: bool) -> list[int]:
        """Keys of the scorers whose jobs go to the batch lane."""
        if not self.settings.is_judge_configured:
            return []
        return [
            registered.pk
            for registered, scorer in self.register()
            if registered.key.kind == "judge"
            and scorer.is_batchable
            and (self.lane or self.settings.judge.lane_of(registered.key.name, is_backfill=is_backfill)) == "batch"
        ]

    def is_backfill(self, night: date) -> bool:
        """Whether a night is of long ago, or being replayed: its scores are not waited for."""
        since = self.last_over(self.settings.clock.now()) - timedelta(days=self.settings.sampling.lookback_nights)
        return self.is_replaying or night < since

    def send(self, lane: JudgeLane) -> int:
        """Have what is queued for a judge asked another way.

        Returns:
            Jobs that go another way now.
        """
        pks = [registered.pk for registered, scorer in self.register() if scorer.is_batchable]
        with self.store.write() as connection:
            to = "batch" if lane == "batch" else "judge"
            return enrol.send(connection, to, pks)

    def contexts(self, nights_and_types: set[tuple[date, str]]) -> "dict[tuple[date, str], Context]":
        """What scorers may know besides a run, by night and task type; without a way to a judge."""
        with self.store.read() as connection:
            rows = references.references(connection, sorted({night for night, _ in nights_and_types}))
        from worker.scorers.protocol import Context

        schemas = self.settings.scoring.schemas
        return {
            pair: Context(reference=reference_of(rows.get(pair)), answer_schema=schemas.get(pair[1]))
            for pair in nights_and_types
        }

    def night_of(self, at: datetime) -> date:
        """The night a time belongs to: its local calendar day in the schedule's time zone."""
        return calendar.night_of(at, self.settings.zone)

    def last_over(self, now: datetime) -> date:
        """The newest night that is over, and may be drawn when asked for."""
        return schedule.last_over(now, self.settings.zone)

    def last_due(self, now: datetime) -> date:
        """The newest night that is drawn unasked: over, and past the schedule's time of day."""
        return schedule.last_due(now, self.settings.schedule.at, self.settings.zone)

    def start_night(self) -> date | None:
        """The project's first night; None before its first tick."""
        with self.store.read() as connection:
            text = meta.get_meta(connection, _START)
        return None if text is None else date.fromisoformat(text)

    def first_tick(self, now: datetime) -> date:
        """Note the first tick, once: nights from the one just over on are scored unasked.

        Returns:
            The project's first night.
        """
        known = self.start_night()
        if known is None:
            with self.store.write() as connection:
                known = date.fromisoformat(meta.set_meta_once(connection, _START, self.last_over(now).isoformat()))
        return known

    def price(
        self, model: str, input_tokens: int, cached_tokens: int, output_tokens: int, tier: str | None = None
    ) -> float | None:
        """What a call costs that was served on this tier, US dollars; None when unknown."""
        times = self.settings.judge.tier_prices.get(tier or "", 1.0)
        return price(model, input_tokens, cached_tokens, output_tokens, self._overrides, times)

    @cached_property
    def _overrides(self) -> Mapping[str, PriceOverride]:
        return {
            model: PriceOverride(own.input_usd_per_mtok, own.output_usd_per_mtok, own.cached_input_usd_per_mtok)
            for model, own in self.settings.judge.prices.items()
        }

    def max_usd(self, scorer: "Scorer", tier: str | None = None) -> float | None:
        """The most one score of a scorer can cost, all its judges together, US dollars; None when a price is unknown.

        Args:
            scorer: Which one.
            tier: Where nothing else can serve it, as in a batch, which no second judge is asked in. None is the full
                price, or that of a dearer tier that the rubric asks for: what was to be flex may be served by default.
        """
        asked = str(scorer.key.spec.get("service_tier"))
        times = max(1.0, self.settings.judge.tier_prices.get(asked, 1.0)) if tier is None else 1.0
        total = 0.0
        for most in scorer.max_tokens if tier is None else scorer.max_tokens[:1]:
            each = self._price_of_one(most, tier)
            if each is None:
                return None
            total += most.calls * each * times
        return total

    def _price_of_one(self, most: "MostTokens", tier: str | None = None) -> float | None:
        """What the longest call costs, US dollars: some prices rise with the size of a call."""
        tokens_in, tokens_out = (-(-count // most.calls) for count in (most.input_tokens, most.output_tokens))
        return self.price(most.model, tokens_in, 0, tokens_out, tier)

    def check_prices(self) -> None:
        """Refuse a budget that cannot be kept.

        Raises:
            SettingsError: A budget is set, the price of a judge that it is for is unknown, and that is not allowed.
        """
        judge = self.settings.judge
        if not judge.has_budget or judge.unknown_price == "allow":
            return
        for most in (each for one in self.scorers if judge.is_capped(one.key.name) for each in one.max_tokens):
            if self._price_of_one(most) is None:
                raise SettingsError(
                    f"a judge's budget is set, but the price of {most.model!r} is unknown; give it in "
                    f'[judge.prices."{most.model}"], or set judge.unknown_price = "allow"'
                )


def reference_of(row: RowMapping | None) -> Reference | None:
    """A stored reference as a record; None when there is none."""
    if row is None:
        return None
    return Reference(**{name: row[name] for name in Reference._fields})


def _known(setting: str, name: str, allowed: Mapping[str, object]) -> str:
    if name in allowed:
        return name
    near = difflib.get_close_matches(name, list(allowed), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(allowed)}"
    raise SettingsError(f"{setting}: {name!r} is not known{hint}")
