"""What judges said of one run: verdicts, and the prompts and raw answers that are stored beside them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from worker.project.project import Project
from worker.records import CACHED
from worker.scorers.rubric.calls import joined_hash, prompt_hash
from worker.scorers.rubric.judgment import StoredCall, StoredJudgment, unpack
from worker.store.queue import judgments
from worker.store.results import scores
from worker.store.rubrics import revisions

_TROUBLES: tuple[Literal["missing"], Literal["contradictory"]] = ("missing", "contradictory")


class Arithmetic(NamedTuple):
    """How code made one value of the criteria."""

    criteria: Sequence[Mapping[str, Any]]
    """Decided criteria: id, value, weight, required."""
    mean: float
    """The weighted mean of their values, 0..1."""
    required_failed: Sequence[str]
    """Required criteria with their lowest verdict, which make the value 0."""
    value: float
    p_pass: float | None
    on: str
    """Which of the two is compared: `p_pass`, or `value` (also where the server gave no probabilities)."""
    threshold: float
    label: str


class RunJudgment(NamedTuple):
    """One judgment of a run: what one scorer's job came to."""

    scorer: str
    version: str
    series: str
    kind: str
    """heuristic · judge."""
    purpose: str
    state: str
    reason: str | None
    at: datetime | None
    """When it was stored; None while it is open."""
    verdicts: Sequence[Mapping[str, Any]]
    """Score rows that count: the aggregate, then one a criterion in the rubric's order; empty for a failed job."""
    overruled: Sequence[Mapping[str, Any]]
    """Score rows of the judge that does not count; empty where only one was asked."""
    stored: StoredJudgment | None
    missing: str | None
    """Why `stored` is None."""
    active_series: str | None = None
    """The series that nights are drawn with now; None where the scorer is not active."""

    def is_meant_by(self, name: str) -> bool:
        """Whether a person means it: by the scorer's name, NAME@VERSION, or the series with or without the name."""
        return name in (self.scorer, f"{self.scorer}@{self.version}", f"{self.scorer}@{self.series}", self.series)

    @property
    def aggregate(self) -> Mapping[str, Any] | None:
        """The verdict on the whole run; None for a failed job."""
        return next((row for row in self.verdicts if row["criterion"] is None), None)

    @property
    def model(self) -> str | None:
        """The judge whose verdict counts; the first that was asked where none could be read. None without a call."""
        requested = None if self.aggregate is None else self.aggregate["model_requested"]
        if requested is None and self.stored is not None:
            requested = self.stored.calls[0].question["model"]
        return None if requested is None else str(requested)

    @property
    def deciding(self) -> Sequence[StoredCall]:
        """The calls behind the verdict that counts, in the order in which they were asked."""
        calls = () if self.stored is None else self.stored.calls
        return [call for call in calls if call.question["model"] == self.model]

    @property
    def prompt_hash(self) -> str | None:
        """As it was stored with the verdict, or with the call where that gave none."""
        if self.aggregate is not None and self.aggregate["prompt_hash"]:
            return str(self.aggregate["prompt_hash"])
        return joined_hash([call.question["prompt_hash"] for call in self.deciding]) if self.deciding else None

    @property
    def hash_ok(self) -> bool | None:
        """Whether the messages that are stored have that hash; None without them."""
        if not self.deciding:
            return None
        return joined_hash([prompt_hash(call.messages, call.asked) for call in self.deciding]) == self.prompt_hash

    @property
    def is_from_cache(self) -> bool:
        """Whether no call was paid, since all answers had been given before."""
        replies = [call.reply for call in self.deciding]
        return bool(replies) and all(reply and reply.get("service_tier") == CACHED for reply in replies)

    @property
    def counts(self) -> Literal["missing", "contradictory"] | None:
        """What is wrong with the server's counts of tokens, as in `Judging`; None also where nothing was paid."""
        said = [] if self.is_from_cache else [(call.reply or {}).get("counts") for call in self.deciding]
        return next((each for each in _TROUBLES if each in said), None)

    @property
    def arithmetic(self) -> Arithmetic | None:
        """How the value came about; None where it is no simple mean: unscored, several samples, nothing stored."""
        total = self.aggregate
        if self.stored is None or total is None or total["value"] is None or self.stored.passing["samples"] > 1:
            return None
        values = {row["criterion"]: row["value"] for row in self.verdicts if row["value"] is not None}
        decided = [one | {"value": values[one["id"]]} for one in self.stored.passing["criteria"] if one["id"] in values]
        if not decided:
            return None
        mean = sum(one["weight"] * one["value"] for one in decided) / sum(one["weight"] for one in decided)
        failed = [one["id"] for one in decided if one["required"] and one["value"] == 0]
        on = "value" if total["p_pass"] is None else self.stored.passing["on"]
        threshold = self.stored.passing["threshold"]
        return Arithmetic(decided, mean, failed, total["value"], total["p_pass"], on, threshold, total["label"])


def run_judgments(project: Project, run_pk: int) -> list[RunJudgment]:
    """What every scorer made of a run, the newest first; of heuristics without prompts, since they have none."""
    with project.store.read() as connection:
        kept_since = project.store.now(connection) - timedelta(days=project.settings.store.traces_days)
        jobs = judgments.of_run(connection, run_pk)
        rows = scores.scores_of(connection, run_pk)
        active = {row.key.name: row.key.series for row in revisions.active_scorers(connection)}
    days = project.settings.store.traces_days
    found = [_judgment(job, rows, kept_since, days) for job in jobs]
    return [one._replace(active_series=active.get(one.scorer)) for one in found]


def _judgment(job: Any, rows: Sequence[Any], kept_since: datetime, days: int) -> RunJudgment:  # noqa: ANN401 a row
    stored, problem = _stored(job)
    own = [row for row in rows if row["scorer_pk"] == job["scorer_pk"] and row["replicate"] == job["replicate"]]
    revision = stored.revision if stored is not None else max((row["revision"] for row in own), default=0)
    order = {} if stored is None else {one["id"]: place for place, one in enumerate(stored.passing["criteria"], 1)}
    own = sorted((row for row in own if row["revision"] == revision), key=lambda row: order.get(row["criterion"], 0))
    found = RunJudgment(
        job["name"],
        job["version"],
        job["series"],
        job["kind"],
        job["purpose"],
        job["state"],
        job["reason"],
        job["judged_at"] or job["resolved_at"],
        [row for row in own if row["purpose"] == job["purpose"]],
        [row for row in own if row["purpose"] == "escalation"],
        stored,
        problem,
    )
    return found if stored is not None else found._replace(missing=problem or _why_missing(found, kept_since, days))


def _stored(job: Any) -> tuple[StoredJudgment | None, str | None]:  # noqa: ANN401 a row
    if job["body"] is None:
        return None, None
    if job["static"] is None:
        return None, "the stored prompt cannot be read: the part that it shares with others is gone"
    try:
        return unpack(job["body"], job["static"]), None
    except ValueError as error:
        return None, str(error)


def _why_missing(one: RunJudgment, kept_since: datetime, days: int) -> str:
    if one.kind == "heuristic":
        return f"{one.scorer} is a heuristic: it asks no judge, so there is no prompt and no answer"
    if one.state in ("queued", "leased"):
        return "it is not judged yet"
    if one.state == "shed":
        return f"no judge was asked: shed ({one.reason})"
    if one.aggregate is not None and one.aggregate["model_requested"] is None:
        return f"no call to a judge is recorded: {one.aggregate['reason'] or one.aggregate['rationale']}"
    if one.at is not None and one.at < kept_since:
        return f"the prompt and the raw answer are not kept any more ([store] traces_days is {days})"
    return "the prompt and the raw answer are not stored: it was scored by a release that did not keep them"
