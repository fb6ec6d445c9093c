"""A custom scorer as a heuristic: whatever its code does with one run, the other runs and scorers go on."""

import contextlib
import inspect
import json
import math
import numbers
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from worker.core.judging.verdict import MAX_QUOTE_CHARS, MAX_QUOTES, storable
from worker.records import Outcome, Run, RunFilter, ScorerKey, scored, unscored
from worker.scorers.custom.time_limit import ScorerTimeout, time_limit
from worker.scorers.heuristics.heuristic import Heuristic, excerpt, fingerprint
from worker.scorers.protocol import Context
from worker.scorers.typed_settings import changed_settings

MAX_SECONDS = 10.0
"""That one run may take."""
FAILED = "scorer_failed"
"""Begins the reason of a run that a custom scorer's code could not score; what went wrong follows after a colon."""
NOTHING_SAID = "not_applicable"
"""The reason of a run of which the function returned None."""
NO_REASON = "no_reason"
"""Stands for a reason that is blank."""
_MAX_MESSAGE = 160
_MAX_REASON, _MAX_LABEL = 80, 60
"""Characters of a reason and of a label: they are counted by and stand in tables, so they are names and no texts."""
_MAX_EVIDENCE_CHARS = MAX_QUOTES * MAX_QUOTE_CHARS


class CustomIdentity(NamedTuple):
    """What tells one version of a custom scorer from the next."""

    name: str
    version: str | None
    """As its code declares it; None where it declares none, and then the code counts."""
    code: str | None
    """Hash of its code; None where a version is declared."""
    settings: object
    """What its factory was given; None where there is none."""
    parameters: Mapping[str, Any]
    applies_to: RunFilter


class CustomScorer(Heuristic):
    """What a function says of a run: a number 0..1 (or True, False), None for nothing to say, or an `Outcome`.

    A run whose function raises, takes more than 10 seconds, or returns anything else is unscored with the reason
    `scorer_failed:WHAT`, and the rationale says where. The function gets a copy of the run of its own, and what it
    prints goes to stderr, since stdout belongs to the command's answer.

    Cannot see: what no scorer sees of a run, its tags and the ids of people.
    """

    def __init__(self, identity: CustomIdentity, function: Callable[[Run, Context], object]) -> None:
        self.name = identity.name
        self.version = identity.version or "0"
        self.settings = identity.settings
        self._identity = identity
        self._function = function

    @property
    def parameters(self) -> Mapping[str, Any]:
        """As its class declares them; empty for a function."""
        return self._identity.parameters

    @property
    def applies_to(self) -> RunFilter:
        """As its code declares it; every run when it does not."""
        return self._identity.applies_to

    @cached_property
    def key(self) -> ScorerKey:
        """Its identity: name, declared version or code, settings, and the runs it applies to."""
        spec: dict[str, Any] = {"name": self.name, "version": self.version, "parameters": dict(self.parameters)}
        if self._identity.code is not None:
            spec["code"] = self._identity.code
        if self.settings is not None:
            spec["settings"] = changed_settings(self.settings)
        if self.applies_to != RunFilter():
            spec["applies_to"] = {field: list(values) for field, values in self.applies_to._asdict().items()}
        return ScorerKey(
            name=self.name, version=self.version, kind="heuristic", fingerprint=fingerprint(spec), spec=spec
        )

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Ask the function, and turn whatever comes of it into an outcome."""
        try:
            with contextlib.redirect_stdout(sys.stderr), time_limit(MAX_SECONDS):
                said = self._function(run.model_copy(deep=True), context)
            return as_outcome(said)
        except ScorerTimeout:
            return unscored(f"{FAILED}:timeout", rationale=f"took more than {MAX_SECONDS:g} seconds")
        except KeyboardInterrupt:  # a person's Ctrl-C
            raise
        except BaseException as error:  # noqa: BLE001 code that is not ours may raise a SystemExit or CancelledError too
            return unscored(f"{FAILED}:{_kind(error)}", rationale=_story(error))


def as_outcome(said: object) -> Outcome:
    """What a function returned, as an outcome.

    Example:
        >>> as_outcome(0.5).value, as_outcome(True).label, as_outcome(None).reason, as_outcome(2).reason
        (0.5, 'pass', 'not_applicable', 'scorer_failed:out_of_range')
    """
    if said is None:
        return unscored(NOTHING_SAID)
    if type(said).__module__ == "numpy" and type(said).__name__ in ("bool", "bool_"):  # what numpy's comparisons give
        said = bool(said)
    if isinstance(said, bool):
        return scored(1.0, label="pass") if said else scored(0.0, label="fail")
    if isinstance(said, numbers.Real):
        value = float(said)
        if not (math.isfinite(value) and 0 <= value <= 1):
            return unscored(f"{FAILED}:out_of_range", rationale=f"returned {value:g}; a value lies between 0 and 1")
        return scored(value)
    if isinstance(said, Outcome):
        return _checked(said)
    if inspect.iscoroutine(said):
        said.close()
    wanted = "a number 0..1, True, False, None or an Outcome"
    return unscored(f"{FAILED}:wrong_type", rationale=f"returned {_kind(said)}; a scorer returns {wanted}")


def _checked(outcome: Outcome) -> Outcome:
    """An outcome of its own making, validated: records that are copied or made without validation may hold anything."""
    again = Outcome.model_validate(outcome.model_dump())
    if again.criterion is not None:
        return unscored(f"{FAILED}:criterion", rationale="returned an Outcome of a criterion; a heuristic has none")
    if (again.value is None) == (again.reason is None):
        return unscored(
            f"{FAILED}:wrong_type", rationale="returned an Outcome without a value or a reason, or with both"
        )
    try:
        evidence = json.dumps(again.evidence, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError):  # found when it is stored, it would cost the runs that are stored with this one
        return unscored(f"{FAILED}:wrong_type", rationale="returned an Outcome whose evidence is no JSON")
    if len(evidence) > _MAX_EVIDENCE_CHARS:
        most = f"at most {_MAX_EVIDENCE_CHARS:,} characters are kept"
        return unscored(f"{FAILED}:too_large", rationale=f"returned {len(evidence):,} characters of evidence; {most}")
    bounded = {
        "reason": None if again.reason is None else excerpt(again.reason, _MAX_REASON) or NO_REASON,
        "label": None if again.label is None else excerpt(again.label, _MAX_LABEL),
        "rationale": None if again.rationale is None else storable(again.rationale),
    }
    return again.model_copy(update=bounded)


def _kind(thing: object) -> str:
    return excerpt(type(thing).__name__, 60)


def _story(error: BaseException) -> str:
    """The error, and the line it comes from."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 even its text is code that is not ours
        message = ""
    frames = traceback.extract_tb(error.__traceback__)
    said = excerpt(f"{_kind(error)}: {message}" if message else _kind(error), _MAX_MESSAGE)
    return f"{said} ({excerpt(Path(frames[-1].filename).name)}:{frames[-1].lineno})" if frames else said
