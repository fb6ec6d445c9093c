"""A rubric scorer made again from its stored text and identity."""

from collections.abc import Mapping

from worker.core.rubric.parse import parse
from worker.records import ScorerKey
from worker.scorers.rubric.scorer import RubricScorer


def rebuild(
    source: str, includes: Mapping[str, str], key: ScorerKey, secret: bytes, *, is_routed: bool = False
) -> RubricScorer:
    """The scorer that a rubric's text and a stored identity describe.

    The caller compares the fingerprints: another release may show runs otherwise, and then this is another scorer.

    Args:
        source: The rubric's canonical file.
        includes: Canonical texts of what it includes, by name.
        key: The stored identity; its `spec` says model, parameters, redaction and repair.
        secret: The installation's, for fences.
        is_routed: Whether `prompt_cache_key` is sent.

    Raises:
        RubricProblem: This release cannot read the text.
    """
    rubric = parse(source, f"{key.name}@{key.version}", includes)
    spec = key.spec
    model = spec.get("model")
    return RubricScorer(
        rubric,
        None if model is None else str(model),
        secret,
        redact=bool(spec.get("redact", True)),
        params=spec.get("params") or {},
        repair=bool(spec.get("repair", False)),
        is_routed=is_routed,
    )
