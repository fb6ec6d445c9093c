"""The schema of a rubric's front matter."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from worker.records import Backend, Record, RunStatus

MAX_RUBRIC_CHARS = 64_000
MAX_CRITERIA = 12
Need = Literal["run.input", "run.output", "run.steps", "run.error"]
_ID = r"^[a-z][a-z0-9_]{0,39}$"
_KEEP = re.compile(r"^(errors|writes|quoted|(first|last):[1-9][0-9]?)$")
_RESERVED_PARAMS = frozenset(
    {
        "model",
        "messages",
        "input",
        "response_format",
        "text",
        "tools",
        "tool_choice",
        "stream",
        "n",
        "store",
        "metadata",
    }
    | {"max_tokens", "max_completion_tokens", "max_output_tokens", "extra_body", "extra_headers", "timeout", "user"}
)


class Level(Record):
    """One level of an ordinal scale."""

    label: str = Field(pattern=_ID)
    """The judge's verdict for this level."""
    when: str = Field(min_length=1, max_length=1000)
    """The anchor: what a run on this level looks like."""


class Criterion(Record):
    """One thing a rubric asks about."""

    id: str = Field(pattern=_ID)
    question: str = Field(min_length=1, max_length=1000)
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Weight in the aggregate, relative to the other criteria."""
    required: bool = False
    """Whether failing it fails the run, whatever the other criteria are."""
    pass_when: str | None = Field(default=None, min_length=1, max_length=2000)
    """When the verdict is pass; required on a binary scale."""
    levels: tuple[Level, ...] = ()
    """Ordinal scale only: 3 to 5 levels, worst first; their values are spread evenly over 0..1."""

    @property
    def options(self) -> dict[str, float]:
        """The verdicts a judge may give, with their values; `unknown` is not among them."""
        if not self.levels:
            return {"pass": 1.0, "fail": 0.0}
        return {level.label: place / (len(self.levels) - 1) for place, level in enumerate(self.levels)}


class AppliesTo(Record):
    """Which runs the rubric applies to; an empty list means all."""

    task_types: tuple[str, ...] = ()
    statuses: tuple[RunStatus, ...] = ("completed",)
    agents: tuple[str, ...] = ()


class Aggregate(Record):
    """How one value is computed from the criteria; by code, not by the judge."""

    method: Literal["weighted_mean"] = "weighted_mean"
    required_fail: Literal["fail"] = "fail"
    """A required criterion on its lowest verdict makes the aggregate 0."""
    unknown: Literal["exclude"] = "exclude"
    """A criterion that the judge could not decide is left out of the mean."""


class Passing(Record):
    """When the aggregate is a pass."""

    threshold: float = Field(default=0.5, gt=0, le=1)
    on: Literal["p_pass", "value"] = "p_pass"
    """What is compared with the threshold: `p_pass` (the mean where the server gives no probabilities), or the mean."""


Doubt = Literal["low_confidence", "failed_evidence", "unknown", "unreadable"]


class Escalate(Record):
    """When a second, better judge is called; its verdict counts where it can be read."""

    when: tuple[Doubt, ...] = ()
    """`low_confidence`: neither clearly a pass nor clearly a fail, by samples or the server's probabilities;
    `failed_evidence`: a quote does not occur in the run; `unknown`: a criterion is undecided; `unreadable`: the answer
    is cut, refused or not as asked."""
    to: str | None = Field(default=None, min_length=1)
    """The second model, at the same address."""
    below: float = Field(default=0.8, gt=0.5, lt=1)
    """Confidence is low while the probability of a pass lies between 1 - below and below."""

    @model_validator(mode="after")
    def _whole(self) -> "Escalate":
        if self.to is not None and not self.when:
            raise ValueError(f"say `when`: a list of {', '.join(get_args(Doubt))}")
        if self.to is None and self.when:
            raise ValueError("say `to`: the model to ask then")
        return self


class RubricJudge(Record):
    """Which judge is called, and how."""

    backend: Backend = "chat"
    """`chat` works with every server; `responses` and `decisions` are newer APIs of OpenAI."""
    model: str | None = None
    """None: the setting `SPOTCHECK_JUDGE_MODEL` decides; a name here wins over it."""
    params: Mapping[str, Any] = Field(default_factory=dict)
    """Sampling parameters such as temperature; a server may refuse some."""
    max_output_tokens: int = Field(default=1200, ge=64, le=32_000)
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    """Requested service tier; `flex` costs half and may take minutes, so give it a longer `judge.timeout_s`."""
    probabilities: bool = False
    """Request the probability of each verdict (`p_pass`); answers get many times larger. `decisions` has it anyway."""
    repair: bool | None = None
    """Ask once more when an answer is not the agreed JSON and the server enforces none; twice the cost is reserved.
    None: the setting `judge.repair` decides."""
    samples: int = Field(default=1, ge=1, le=20)
    """How often the same question is asked, where the server gives no probabilities. Odd numbers avoid ties; more than
    5 add little. The temperature must not be 0."""
    escalate: Escalate | None = None

    @model_validator(mode="after")
    def _decisions_have_no_options(self) -> "RubricJudge":
        for name in ("service_tier", "repair"):
            if self.backend == "decisions" and getattr(self, name):
                raise ValueError(f"decisions know no `{name}`; leave it out, or take another backend")
        return self

    @field_validator("params")
    @classmethod
    def _only_sampling(cls, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := sorted(_RESERVED_PARAMS & set(params)):
            raise ValueError(
                f"{', '.join(taken)} cannot be set here; params are sampling parameters such as temperature"
            )
        return params

    @model_validator(mode="after")
    def _second_is_another(self) -> "RubricJudge":
        if self.escalate is not None and self.escalate.to is not None and self.escalate.to == self.model:
            raise ValueError(f"`escalate.to` is {self.model!r}, the model that is asked first")
        return self


class Trace(Record):
    """How much of the run the judge is shown."""

    budget_tokens: int = Field(default=6000, ge=500, le=60_000)
    keep: tuple[str, ...] = ("errors", "writes", "quoted", "first:1", "last:3")
    """Kinds of steps that keep more of their text: errors, writes, quoted, first:N, last:N."""

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for word in keep:
            if not _KEEP.match(word):
                raise ValueError(f"{word!r} is not one of errors, writes, quoted, first:N, last:N")
        return keep


class Examples(Record):
    """Labelled runs shown to the judge (accepted; not yet used)."""

    file: str
    split: Literal["train"] = "train"
    max: int = Field(default=4, ge=1, le=20)


class PromotionBar(Record):
    """What a version must reach before it is promoted (accepted; not yet used)."""

    min_kappa: float | None = Field(default=None, ge=-1, le=1)
    max_asr: float | None = Field(default=None, ge=0, le=1)
    """Attack success rate on the canaries, 0..1."""
    min_labels: int | None = Field(default=None, ge=1)


class FrontMatter(Record):
    """Everything between the two `---` lines."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,59}$")
    version: str = Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$")
    """Semantic version; a new version starts a new series."""
    description: str = ""
    owner: str = ""
    applies_to: AppliesTo = AppliesTo()
    needs: tuple[Need, ...] = ("run.input", "run.output")
    """A run without one of these is unscored (`missing:…`) without a call."""
    scale: Literal["binary", "ordinal"] = "binary"
    mode: Literal["joint", "per_criterion"] = "joint"
    """One call for all criteria, or one call for each."""
    criteria: tuple[Criterion, ...] = Field(min_length=1, max_length=MAX_CRITERIA)
    aggregate: Aggregate = Aggregate()
    passing: Passing = Field(default=Passing(), alias="pass")
    judge: RubricJudge = RubricJudge()
    trace: Trace = Trace()
    examples: Examples | None = None
    tests: PromotionBar | None = None

    @model_validator(mode="after")
    def _criteria_fit_the_scale(self) -> "FrontMatter":
        ids = [criterion.id for criterion in self.criteria]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"criterion {twice[0]!r} stands twice; ids must differ")
        for criterion in self.criteria:
            labels = {level.label for level in criterion.levels}
            if self.scale == "binary" and criterion.levels:
                raise ValueError(
                    f"criterion {criterion.id!r} has levels, but the scale is binary; write `scale: ordinal`"
                )
            if self.scale == "binary" and criterion.pass_when is None:
                raise ValueError(f"criterion {criterion.id!r} does not say `pass_when`")
            if self.scale == "ordinal" and not 3 <= len(criterion.levels) <= 5:
                raise ValueError(
                    f"criterion {criterion.id!r} needs 3 to 5 `levels`, each anchored by a `when`; it has {len(labels)}"
                )
            if len(labels) != len(criterion.levels) or "unknown" in labels:
                raise ValueError(f"the labels of criterion {criterion.id!r} must differ, and `unknown` is taken")
        return self
