"""The series of a scorer over time: which one measures a night, when another took over, and how that is said.

Every place that tells of a new series takes its words from here.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from worker.core.drift.learning import nights_learned
from worker.core.drift.thresholds import LEARN_NIGHTS
from worker.core.report.formatting import OutsideName, counted
from worker.records import ScorerKey

MOST_TOLD = 6
"""New series that are told at once; with a scorer whose code changes every day nobody would read more."""
_MOST_PARTS = 3
"""Parts of a scorer that are named in one sentence."""
_VALUE_CHARS = 40
_UNTOLD = frozenset({"name", "rubric"})
"""Parts of a spec that are the same in all series of a scorer."""
_WORDS: Mapping[str, str] = {
    "model": "another judge:",
    "version": "version",
    "backend": "the judge's backend",
    "params": "params",
    "max_output_tokens": "max_output_tokens",
    "digest_version": "how a run is shown to the judge, version",
    "redact": "redaction",
    "redaction_version": "redaction rules, version",
    "precheck_version": "rules for what is no answer, version",
    "reading_version": "how a judge's reply is read, version",
    "reference_version": "how the usual figures are made, version",
    "service_tier": "service tier",
    "escalate": "second judge",
    "settings": "settings",
    "parameters": "parameters",
    "applies_to": "applies to",
    "code": "code",
}
_UNSAID: Mapping[str, Any] = {
    **dict.fromkeys(("redaction_version", "precheck_version", "reading_version", "reference_version"), "1"),
    "repair": False,
    "probabilities": False,
    "samples": 1,
}
"""What a spec means where it does not name a part: a default is left out, so that no series ends by a new option."""


class SeriesNight(NamedTuple):
    """What one series has of a night."""

    night: date
    scorer_pk: int
    sampled: int
    scored: int
    is_backfill: bool = False
    """Whether it scored the night long after, and another series may have measured it in its time."""


class SeriesSpan(NamedTuple):
    """Nights one after another that one series measures; nights without runs do not end it."""

    scorer_pk: int
    first: date
    last: date
    scored: int
    """Scored runs of these nights; 0 only for the last span of a scorer."""


class ChangedPart(NamedTuple):
    """One part of what a scorer measures with, before and after."""

    part: str
    """Its place in the spec, for example `model`, `params.temperature`, `settings.schemas.refund`."""
    before: Any
    after: Any


class SeriesChange(NamedTuple):
    """That one series of a scorer took over from another."""

    before: ScorerKey
    after: ScorerKey
    last: date
    """The last night that the old one measures."""
    since: date
    """The first night that the new one measures."""
    is_scored: bool
    """Whether a run of the new one has a score."""
    is_back: bool
    """Whether the new one measured earlier nights too: the old judge, rubric or settings are back."""
    tested_from: date | None
    """The first night in which a change of the new one can be found: before it the new one learns its reference. None
    where it was itself replaced."""

    @property
    def scorer(self) -> str:
        """The name of both."""
        return self.after.name


def series_spans(nights: Iterable[SeriesNight]) -> list[SeriesSpan]:
    """Which series measures which nights, oldest first.

    A night belongs to the series that scored it in its time, whatever a backfill adds; of several to that which scored
    most of it; of two that scored as many to the newer one, and where nothing is scored to the newer one that sampled
    it. Spans without a score are left out, since nobody could compare with them, but for the last: it says that a new
    series has begun and has no score yet.

    Args:
        nights: What each series has of each night, in any order; of one scorer and one task type, or all together.

    Example:
        >>> first, second = date(2026, 11, 23), date(2026, 11, 24)
        >>> nights = [SeriesNight(first, 1, 9, 9), SeriesNight(second, 1, 9, 2), SeriesNight(second, 5, 9, 9)]
        >>> [(span.scorer_pk, span.first.day, span.last.day) for span in series_spans(nights)]
        [(1, 23, 23), (5, 24, 24)]
    """
    by_night: dict[date, list[SeriesNight]] = defaultdict(list)
    for one in nights:
        if one.sampled or one.scored:
            by_night[one.night].append(one)
    chosen = [max(by_night[night], key=_claim) for night in sorted(by_night)]
    spans = _joined(SeriesSpan(one.scorer_pk, one.night, one.night, one.scored) for one in chosen)
    return _joined(span for place, span in enumerate(spans) if span.scored or place == len(spans) - 1)


def _claim(one: SeriesNight) -> tuple[bool, int, int]:
    return one.scored > 0 and not one.is_backfill, one.scored, one.scorer_pk


def _joined(spans: Iterable[SeriesSpan]) -> list[SeriesSpan]:
    joined: list[SeriesSpan] = []
    for span in spans:
        if joined and joined[-1].scorer_pk == span.scorer_pk:
            joined[-1] = joined[-1]._replace(last=span.last, scored=joined[-1].scored + span.scored)
        else:
            joined.append(span)
    return joined


def series_changes(
    spans: Sequence[SeriesSpan], keys: Mapping[int, ScorerKey], firsts: Mapping[int, date]
) -> list[SeriesChange]:
    """Where one series took over from another, oldest first.

    Args:
        spans: As `series_spans` gives them.
        keys: The scorers by key.
        firsts: The first night with a score of each.
    """
    changes = []
    for place, (before, after) in enumerate(pairwise(spans)):
        is_back = any(span.scorer_pk == after.scorer_pk for span in spans[: place + 1])
        first = min(after.first, firsts.get(after.scorer_pk, after.first))
        is_last = place == len(spans) - 2
        changes.append(
            SeriesChange(
                keys[before.scorer_pk],
                keys[after.scorer_pk],
                before.last,
                after.first,
                is_scored=after.scored > 0,
                is_back=is_back,
                tested_from=first + timedelta(days=LEARN_NIGHTS) if is_last else None,
            )
        )
    return changes


def changed_parts(before: ScorerKey, after: ScorerKey) -> tuple[ChangedPart, ...]:
    """What differs between two series of a scorer, in the order of their specs; empty where it is not known.

    A table's values are told apart by name, two levels deep. What looks like a key or a password, which a scorer of a
    team's own may have among its settings, is blanked.

    Example:
        >>> key = ScorerKey(name="x", version="1", kind="judge", fingerprint="a" * 16, spec={"params": {"seed": 1}})
        >>> changed_parts(key, key.model_copy(update={"spec": {"params": {"seed": 2}, "model": "m"}}))
        (ChangedPart(part='params.seed', before=1, after=2), ChangedPart(part='model', before=None, after='m'))
    """
    found: list[ChangedPart] = []
    first, second = _spec(before), _spec(after)
    for name in dict.fromkeys((*second, *first)):
        found += _differences(name, first.get(name), second.get(name), depth=2)
    return tuple(found)


def _spec(key: ScorerKey) -> dict[str, Any]:
    """A spec with its version in place of the hash, where the version tells the texts apart."""
    spec = {name: value for name, value in key.spec.items() if name not in _UNTOLD}
    return {"version": key.version, **spec}


def _differences(path: str, before: Any, after: Any, depth: int) -> Iterator[ChangedPart]:  # noqa: ANN401 JSON values
    if before == after:
        return
    is_table = all(isinstance(value, Mapping | None) for value in (before, after))
    if depth and is_table and path != "escalate":
        first, second = before or {}, after or {}
        for name in dict.fromkeys((*second, *first)):
            yield from _differences(f"{path}.{name}", first.get(name), second.get(name), depth - 1)
    else:
        yield ChangedPart(path, _blanked(path, before), _blanked(path, after))


def _blanked(path: str, value: Any) -> Any:  # noqa: ANN401 a JSON value
    """A value without secrets; its own name tells some of them."""
    from worker.core.judging.redact import redact  # many patterns, which most commands need not compile

    text = json.dumps({path.rpartition(".")[2]: value}, default=str)
    blanked = redact(text)
    if not blanked.counts:
        return value
    try:
        return next(iter(json.loads(blanked.text).values()))
    except ValueError:
        return "(not shown)"


def what_changed(before: ScorerKey, after: ScorerKey) -> tuple[str, ...]:
    """What differs between two series, as pieces of a sentence; empty where it is not known.

    Example:
        >>> old = ScorerKey(name="x", version="1.0.0", kind="judge", fingerprint="a" * 16, spec={"model": "gpt-a"})
        >>> "".join(what_changed(old, old.model_copy(update={"version": "1.1.0", "spec": {"model": "gpt-b"}})))
        'rubric 1.0.0 → 1.1.0; another judge: gpt-a → gpt-b'
    """
    parts = [part for part in changed_parts(before, after) if not _is_implied(part, before, after)]
    pieces: list[str] = []
    for part in parts[:_MOST_PARTS]:
        pieces += ["; "] if pieces else []
        pieces += _part_pieces(part, after)
    if len(parts) > _MOST_PARTS:
        pieces.append(f"; {counted(len(parts) - _MOST_PARTS, 'more part')}")
    return tuple(pieces)


def _is_implied(part: ChangedPart, before: ScorerKey, after: ScorerKey) -> bool:
    """A text's hash differs wherever its version does."""
    return part.part == "rubric_hash" and before.version != after.version


def _part_pieces(part: ChangedPart, after: ScorerKey) -> list[str]:
    name, _, rest = part.part.partition(".")
    if name == "rubric_hash":
        return ["the rubric's text, its version still ", OutsideName(after.version)]
    if name == "code":
        return ["its code"]
    if name == "version" and after.kind == "judge":
        return ["rubric ", OutsideName(part.before), " → ", OutsideName(part.after)]
    said = [_WORDS.get(name, name.replace("_", " "))]
    said += [".", OutsideName(rest[:_VALUE_CHARS])] if rest else []
    known = (_UNSAID.get(name) if value is None else value for value in (part.before, part.after))
    values = [_value(name, value) for value in known]
    if values[0] is None or values[1] is None or values[0] == values[1]:
        return [*said, " changed"]
    return [*said, " ", OutsideName(values[0]), " → ", OutsideName(values[1])]


def _value(name: str, value: Any) -> str | None:  # noqa: ANN401 a JSON value
    """A value on one line; None for one that cannot be shown so."""
    if name == "escalate" and isinstance(value, Mapping):
        value = value.get("to")
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float | str) and len(text := " ".join(str(value).split())) <= _VALUE_CHARS:
        return text
    return None


def announcement(change: SeriesChange) -> tuple[str, ...]:
    """That a series took over, since when, why, and what may not be compared: pieces of a sentence without its end.

    Example:
        "task_completion: new series 1.1.0+9be1aa02 since 2026-11-24 (rubric 1.0.0 → 1.1.0); not compared with
        1.0.0+70b57ee5 before".
    """
    what = what_changed(change.before, change.after)
    kind = "series {} again" if change.is_back else "new series {}"
    start, _, end = kind.partition("{}")
    return (
        OutsideName(change.scorer),
        f": {start}",
        OutsideName(change.after.series),
        f"{end} since {change.since}",
        *((" (", *what, ")") if what else ()),
        "; not compared with ",
        OutsideName(change.before.series),
        " before",
        *(() if change.is_scored else ("; none of its runs has a score yet",)),
    )


def newest_changes(changes: Sequence[SeriesChange]) -> tuple[int, Sequence[SeriesChange]]:
    """How many changes are left out, and the newest few, which are told; machines get all."""
    return max(0, len(changes) - MOST_TOLD), changes[-MOST_TOLD:]


def learning_note(change: SeriesChange, today: date) -> str:
    """Until when nothing can be found in a new series; empty where its nights are compared, or it is over.

    Args:
        change: Which series began.
        today: The newest night.

    Example:
        "it learns its reference first (5 of 14 nights are learned): no change can be found in it before the night of
        2026-12-08".
    """
    if change.tested_from is None or today >= change.tested_from:
        return ""
    done = nights_learned(LEARN_NIGHTS - (change.tested_from - today).days + 1)
    return (
        f"it learns its reference first ({done}): no change can be found in it before the night of {change.tested_from}"
    )


def change_json(change: SeriesChange, today: date | None) -> dict[str, Any]:
    """A new series as `--json` of report, trends and drift shows it; `text` is the whole announcement.

    Args:
        change: Which.
        today: The newest night; None where there is none.
    """
    note = "" if today is None else learning_note(change, today)
    return {
        "scorer": change.scorer,
        "since": str(change.since),
        "before": change.before.series,
        "after": change.after.series,
        "last": str(change.last),
        "changed": [part._asdict() for part in changed_parts(change.before, change.after)],
        "is_scored": change.is_scored,
        "is_back": change.is_back,
        "tested_from": None if change.tested_from is None else str(change.tested_from),
        "text": "".join(announcement(change)) + (f"; {note}" if note else ""),
    }


def new_series_line(before: ScorerKey, after: ScorerKey) -> str:
    """That a scorer starts a new series, and which parts of it changed, in one line; for when it is first stored.

    Example:
        >>> old = ScorerKey(name="x", version="1", kind="heuristic", fingerprint="a" * 16, spec={"settings": 0})
        >>> new_series_line(old, old.model_copy(update={"series": "1+bbbbbbbb", "spec": {"settings": 1}}))
        'x: new series 1+bbbbbbbb, not compared with 1+aaaaaaaa; changed: settings'
    """
    names = dict.fromkeys((*after.spec, *before.spec))
    changed = [name for name in names if before.spec.get(name) != after.spec.get(name)]
    line = f"{after.name}: new series {after.series}, not compared with {before.series}"
    return f"{line}; changed: {', '.join(changed)}" if changed else line
