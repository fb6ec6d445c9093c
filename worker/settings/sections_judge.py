"""Tables of spotcheck.toml: the judge, its prices, budgets, quotas and batches."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
)

from worker.settings.section import Section, Variable

TIER_PRICES: Mapping[str, float] = {"flex": 0.5, "batch": 0.5, "priority": 2.0}
"""Of OpenAI's list price; priority costs 1.7 to 2 times as much, by model."""


class ModelPrice(Section):
    """What a model costs, US dollars per million tokens; overrides the built-in table."""

    input_usd_per_mtok: float = Field(ge=0)
    """US dollars per million tokens sent."""
    output_usd_per_mtok: float = Field(ge=0)
    """US dollars per million tokens answered."""
    cached_input_usd_per_mtok: float | None = Field(default=None, ge=0)
    """US dollars per million tokens sent that the server had in its cache; as others when not given."""


class RubricBudget(Section):
    """What one rubric may spend, all its versions together; the caps of all judging hold beside it."""

    usd_per_day: float | None = Field(default=None, ge=0)
    """In a calendar day of the clock, replays included, US dollars; none by default."""
    usd_per_month: float | None = Field(default=None, ge=0)
    """In a calendar month of the clock, US dollars; none by default."""


class ModelQuota(Section):
    """A quota of one model; what is not given comes from `[judge.quota]`."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests that all workers together may send to this model in a minute."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Tokens, read and written, of this model in a minute."""


class JudgeQuota(Section):
    """Hard limits of the account, known beforehand; without them the pace is found by trying."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests that all workers together may send to one model in a minute; none by default."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Tokens, read and written, of one model in a minute; none by default."""
    models: Mapping[str, ModelQuota] = Field(default_factory=dict)
    """Quotas of single models."""

    def of(self, model: str) -> ModelQuota | None:
        """The quota of a model; None without one."""
        quota = self.models.get(model, ModelQuota())
        requests, tokens = (
            own if own is not None else general
            for own, general in (
                (quota.requests_per_minute, self.requests_per_minute),
                (quota.tokens_per_minute, self.tokens_per_minute),
            )
        )
        if requests is None and tokens is None:
            return None
        return ModelQuota(requests_per_minute=requests, tokens_per_minute=tokens)


class BatchPolicy(Section):
    """How the batch lane is used: questions that are answered within a day, at a discount."""

    deadline_h: float = Field(default=24, gt=0, le=168)
    """Hours after which what a batch has not answered is asked at once."""
    gather_s: float = Field(default=300, ge=0, le=86_400)
    """Seconds that the oldest job waits for company before a batch is made, however few there are."""
    max_jobs: int = Field(default=10_000, ge=1, le=25_000)
    """Jobs of one batch; there may be several at a time."""
    max_bytes: int = Field(default=50_000_000, ge=100_000, le=200_000_000)
    """Bytes of one batch's questions; servers take 200 MB, and a worker is told to stop while it sends them."""
    poll_s: float = Field(default=30, gt=0, le=3600)
    """Shortest time between two looks at a running batch, seconds; one that takes longer is looked at less often."""


JudgeLane = Literal["now", "batch"]


class JudgeSection(Section):
    """The judge's model, endpoint and budget."""

    model: Annotated[str | None, Variable("SPOTCHECK_JUDGE_MODEL")] = None
    """Model that judges. Env: SPOTCHECK_JUDGE_MODEL."""
    base_url: Annotated[str | None, Variable("OPENAI_BASE_URL", "url")] = None
    """Base URL of an OpenAI-compatible server. Env: OPENAI_BASE_URL."""
    concurrency: Annotated[int, Field(ge=1, le=1024), Variable("SPOTCHECK_JUDGE_CONCURRENCY")] = 16
    """Calls in flight per worker process. Env: SPOTCHECK_JUDGE_CONCURRENCY."""
    timeout_s: float = Field(default=60, gt=0, le=3600)
    """Longest wait for one answer, seconds."""
    answers_days: int = Field(default=7, ge=0, le=365)
    """Days for which an answer is kept, so that the very same question is not paid twice; 0 keeps none. A week holds
    what a rubric with another threshold, a replay or a backfill asks again; a model behind a name may change after."""
    budget_usd_per_day: float | None = Field(default=None, ge=0)
    """What scoring nights may spend in a calendar day of the clock, replays included, US dollars; none by default."""
    budget_usd_per_month: float | None = Field(default=None, ge=0)
    """What all scoring may spend in a calendar month of the clock, US dollars; none by default."""
    backfill_usd_per_day: float | None = Field(default=None, ge=0)
    """What backfills and single runs that a person has scored may spend in a calendar day, US dollars, apart from what
    nights may; when not given, what the caps of the day leave over. When it is spent, their jobs wait for the next."""
    budgets: Mapping[str, RubricBudget] = Field(default_factory=dict)
    """Caps of single rubrics, by name."""
    quota: JudgeQuota = JudgeQuota()
    """Hard limits of the account, shared by all workers."""
    repair: bool = False
    """Ask once more when an answer is not the agreed JSON and the server enforces none; reserves twice the money."""
    unknown_price: Literal["allow", "refuse"] | None = None
    """A model without a known price: with a budget set it is refused unless allowed here."""
    prices: Mapping[str, ModelPrice] = Field(default_factory=dict)
    """Prices by model."""
    tier_prices: Annotated[
        Mapping[str, Annotated[float, Field(ge=0, le=100)]], AfterValidator(lambda given: {**TIER_PRICES, **given})
    ] = Field(default_factory=dict, validate_default=True)
    """What a service tier costs, as a multiple of the model's price."""
    lane: JudgeLane = "now"
    """How new nights are judged: now, or in batches, which cost half and take up to a day."""
    backfill_lane: JudgeLane | None = None
    """The same for nights of long ago and for replays; as `lane` when not given."""
    lanes: Mapping[str, JudgeLane] = Field(default_factory=dict)
    """Rubrics that go another way than `lane` says, for new nights and old ones."""
    batch: BatchPolicy = BatchPolicy()
    """How the batch lane is used."""

    def lane_of(self, rubric: str, *, is_backfill: bool) -> JudgeLane:
        """How a rubric's jobs are asked."""
        usual = self.backfill_lane or self.lane if is_backfill else self.lane
        return self.lanes.get(rubric, usual)

    @property
    def has_budget(self) -> bool:
        """Whether scoring may not spend whatever it costs."""
        return self.backfill_usd_per_day is not None or any(self.is_capped(name) for name in ("", *self.budgets))

    def is_capped(self, rubric: str) -> bool:
        """Whether scoring by a rubric may not spend whatever it costs."""
        budget = self.budgets.get(rubric, RubricBudget())
        caps = (self.budget_usd_per_day, self.budget_usd_per_month, budget.usd_per_day, budget.usd_per_month)
        return any(cap is not None for cap in caps)
