"""What the next draw would be drawn with: settings, files and promotions, beside what is active now.

A rubric's file is a draft. It becomes active when its version is higher than every version that was active before; a
text that changed without its version is refused, and so is an older one: going back is a person's decision.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from worker.errors import SettingsError
from worker.project.drafts import Drafts
from worker.records import RunFilter, ScorerKey
from worker.settings import Settings
from worker.store.queue.enrol import Registered
from worker.store.rubrics import revisions, texts
from worker.store.rubrics.revisions import Revision
from worker.store.rubrics.texts import RubricText

if TYPE_CHECKING:  # scorers import templates and schemas, and half of the commands ask no scorer
    from worker.core.rubric.parse import Rubric
    from worker.scorers.heuristics.heuristic import Heuristic
    from worker.scorers.protocol import Scorer

MakeRubric = Callable[[RubricText, "str | None"], "Scorer"]
"""Makes the scorer of a text for a model; None for no judge."""


class Risen(NamedTuple):
    """A text that the next draw makes active."""

    text: RubricText
    why: str
    """Why it may, in words: `first use`, or that its version rose."""
    is_shipped: bool = False
    """Whether its file is one that comes with Spotcheck."""


class Candidate(NamedTuple):
    """What the next draw would be drawn with."""

    entries: "Sequence[Scorer | Registered]"
    """Scorers in their order; a `Registered` where the active one stays since it cannot be made here."""
    policy: Mapping[str, Any]
    risen: Sequence[Risen]
    lines: Sequence[str]
    """What people should know, a line each: what stays in spite of a file, and why."""
    digest: str
    """16 hex over fingerprints and policy."""

    @property
    def keys(self) -> list[tuple[ScorerKey, RunFilter]]:
        """Identity and population of each scorer, in order."""
        return [(entry.key, entry.applies_to) for entry in self.entries]


class Situation(NamedTuple):
    """What the store holds."""

    revision: Revision | None
    scorers: Sequence[Registered]
    """The active ones."""
    texts: Mapping[str, RubricText]
    """The active text by rubric."""
    highest: Mapping[str, str]
    """The highest version that was ever active, by rubric."""
    hashes: frozenset[str]
    """Every text that was ever active."""
    of_team: frozenset[str] = frozenset()
    """Rubrics whose active text came from a team's own folder; one of before that was noted is none of them."""


def situation(connection: Connection) -> Situation:
    """Read what is active."""
    from worker.core.rubric.version import precedence

    highest: dict[str, str] = {}
    promotions = texts.promotions(connection)
    for promotion in promotions:
        before = highest.get(promotion.name)
        if before is None or precedence(promotion.version) > precedence(before):
            highest[promotion.name] = promotion.version
    return Situation(
        revisions.current(connection),
        revisions.active_scorers(connection),
        texts.active(connection),
        highest,
        frozenset(promotion.hash for promotion in promotions),
        frozenset(name for name, one in {one.name: one for one in promotions}.items() if one.is_shipped is False),
    )


def choose(
    settings: Settings,
    now_active: Situation,
    heuristics: "Mapping[str, Heuristic]",
    broken: Mapping[str, str],
    drafts: Drafts,
    make: MakeRubric,
    *,
    with_files: bool = True,
) -> Candidate:
    """What the next draw would be drawn with.

    Args:
        settings: Which scorers are wanted, the judge's model, and the sampling policy.
        now_active: What is active in the store.
        heuristics: Those that can be made, by name.
        broken: Custom scorers that cannot be loaded, by name; their last active row stays.
        drafts: The rubric files.
        make: Makes a rubric's scorer.
        with_files: Whether a file may become active; False compares the settings alone with what is active.

    Raises:
        RubricError: A rubric is wanted for the first time, and its file is wrong.
        SettingsError: A rubric is wanted that does not exist.
    """
    rows = {row.key.name: row for row in now_active.scorers}
    entries: list[Scorer | Registered] = list(heuristics.values())
    entries += [rows[name] for name in broken if name in rows]
    risen: list[Risen] = []
    lines: list[str] = []
    model = settings.judge.model if settings.is_judge_configured else None
    for name in settings.scoring.rubrics:
        text, why, line = _text_of(name, now_active, drafts, with_files=with_files)
        if why:
            risen.append(Risen(text, why, drafts.is_shipped(drafts.rubrics[name])))
        if line:
            lines.append(line)
        row = rows.get(name)
        theirs = None if row is None else row.key.spec.get("model")
        if model is None and row is not None and theirs is not None:
            # who has no judge takes none away: others may score what is drawn here
            entries.append(row if row.key.spec.get("rubric_hash") == text.hash else make(text, str(theirs)))
            continue
        entries.append(make(text, model))
    wanted = settings.scoring.rubrics
    lines += [
        f"{problem}; no scorer needs it" for name, problem in drafts.problems.items() if name and name not in wanted
    ]
    policy = settings.sampling.model_dump(mode="json", exclude={"lookback_nights"})
    return Candidate(entries, policy, risen, lines, digest_of([entry.key for entry in entries], policy))


def _text_of(name: str, now_active: Situation, drafts: Drafts, *, with_files: bool) -> tuple[RubricText, str, str]:
    """A rubric's text; why it becomes active now, if it does; and what people should know."""
    from worker.core.rubric.parse import identity
    from worker.core.rubric.version import precedence

    active = now_active.texts.get(name)
    if active is not None and not with_files:
        return active, "", ""
    draft, problem = drafts.rubrics.get(name), drafts.problem(name)
    if active is None:
        if draft is None:
            raise problem or _unknown(name, drafts)
        return text_of(draft), "first use", ""
    goes_on = f"{name} {active.version} goes on from the store"
    if draft is None:
        return active, "", f"{problem}; {goes_on}" if problem else f"{name} has no file any more; {goes_on}"
    if identity(draft) == active.hash:
        return active, "", ""
    highest = now_active.highest[name]
    command = f"spotcheck rubric promote {name} --version {draft.version} --unproved WHY"
    if precedence(draft.version) > precedence(highest):
        if not (drafts.is_shipped(draft) and name in now_active.of_team):
            return text_of(draft), f"version {draft.version} of {draft.path} is higher than {highest}", ""
        return (
            active,
            "",
            f"{name} {active.version} came from a prompts folder of your own, which holds it no more or is not read "
            f"now (SPOTCHECK_PROMPTS, ./prompts); the shipped {draft.version} does not replace it by itself, and "
            f"{goes_on} ({command})",
        )
    if drafts.is_shipped(draft):
        return active, "", f"there is only the shipped {name} {draft.version}, another text; {goes_on} ({command})"
    if identity(draft) in now_active.hashes:
        return active, "", f"{draft.path} holds {draft.version}, which was active before; {goes_on} ({command})"
    return (
        active,
        "",
        f"{draft.path} differs from {name} {active.version}, but its version {draft.version} is not higher than "
        f"{highest}: it is refused, and {goes_on}; raise its version",
    )


def file_line(name: str, now_active: Situation, drafts: Drafts) -> str | None:
    """What becomes of a rubric's file at the next draw, in one line; None where it holds what scores, or is unknown."""
    if name not in now_active.texts:
        return None
    text, why, line = _text_of(name, now_active, drafts, with_files=True)
    return f"{text.version} is a draft, and scores from the next night that is drawn on" if why else line or None


def _unknown(name: str, drafts: Drafts) -> SettingsError:
    from worker.scorers.registry import check_name

    try:
        check_name("scoring.rubrics", name, dict.fromkeys(sorted(drafts.names)))
    except SettingsError as error:
        return error
    return SettingsError(f"scoring.rubrics: {name!r} is not known")


def text_of(rubric: "Rubric") -> RubricText:
    """A parsed rubric as the store keeps it."""
    from worker.core.rubric.parse import identity

    return RubricText(identity(rubric), rubric.name, rubric.version, rubric.source, dict(rubric.includes))


def digest_of(keys: Sequence[ScorerKey], policy: Mapping[str, Any]) -> str:
    """16 hex over the fingerprints, in any order, and the policy."""
    said = [sorted(f"{key.name}:{key.fingerprint}" for key in keys), policy]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
