"""Who a rubric scorer is: whatever changes its verdicts changes its fingerprint, and so starts a new series."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from worker.core.judging.digest import DIGEST_VERSION
from worker.core.rubric.parse import Rubric, identity
from worker.core.rubric.schema import Escalate
from worker.records import ScorerKey
from worker.scorers.rules import Rule, changed_rules


class JudgeOptions(NamedTuple):
    """How a rubric's questions are asked here: the rubric's own word, then the settings'."""

    model: str | None
    """The judge; None where none is configured."""
    params: Mapping[str, Any]
    """Sampling parameters."""
    redact: bool
    """Whether secrets and personal data are taken out before a run leaves."""
    repair: bool
    """Whether an answer that is not the agreed JSON may be asked for once more."""
    is_routed: bool
    """Whether `prompt_cache_key` is sent; it decides which machine answers, not what, so it is no part of the key."""
    escalate: Escalate | None
    """When which second judge is asked; None where none is, or where the first is the one that would be."""


def options_of(
    rubric: Rubric,
    model: str | None,
    *,
    redact: bool = True,
    params: Mapping[str, Any] | None = None,
    repair: bool = False,
    is_routed: bool = False,
) -> JudgeOptions:
    """The options of a rubric under some settings; see `RubricScorer` for the arguments."""
    judge = rubric.judge
    model = judge.model or model
    policy = judge.escalate
    is_another = policy is not None and policy.to is not None and model not in (None, policy.to)
    return JudgeOptions(
        model=model,
        params={**judge.params, **(params or {})},
        redact=redact,
        # the decisions backend has an answer format of its own, in which there is nothing to repair
        repair=(repair if judge.repair is None else judge.repair) and judge.backend != "decisions",
        is_routed=is_routed,
        escalate=policy if is_another else None,
    )


def scorer_key(rubric: Rubric, options: JudgeOptions) -> ScorerKey:
    """Name, version and fingerprint: rubric with includes, models, parameters, samples, digest version, redaction."""
    spec = {
        "rubric": rubric.name,
        "rubric_hash": identity(rubric),
        "model": options.model,
        "backend": rubric.judge.backend,
        "params": options.params,
        "max_output_tokens": rubric.judge.max_output_tokens,
        "digest_version": DIGEST_VERSION,
        "redact": options.redact,
    } | _unusual(rubric, options)
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), default=str).encode()
    fingerprint = hashlib.sha256(text).hexdigest()[:16]
    return ScorerKey(name=rubric.name, version=rubric.version, kind="judge", fingerprint=fingerprint, spec=spec)


def required_ids(rubric: Rubric) -> list[str]:
    """Ids of the criteria that can fail a run alone."""
    return [criterion.id for criterion in rubric.criteria if criterion.required]


def _unusual(rubric: Rubric, options: JudgeOptions) -> dict[str, Any]:
    """What differs from the defaults. A default is left out, so that a new option does not end existing series."""
    judge, escalate = rubric.judge, options.escalate
    rules: list[Rule] = ["reading"]
    rules += ["redaction"] if options.redact else []
    rules += ["precheck"] if "run.output" in rubric.needs else []
    values = {
        "service_tier": judge.service_tier,
        "probabilities": judge.probabilities,
        "repair": options.repair,
        "samples": judge.samples if judge.samples > 1 else None,
        # both judges together are the judge: with another second one it is another
        "escalate": escalate and {**escalate.model_dump(mode="json"), "required": required_ids(rubric)},
    }
    return {name: value for name, value in values.items() if value} | changed_rules(*rules)
