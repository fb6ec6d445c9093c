"""The expected value of a criterion or an aggregate, from the probabilities of its verdicts."""

from collections.abc import Mapping, Sequence

from worker.core.rubric.schema import Criterion

MIN_DECIDED = 1e-6
"""Least total probability of the deciding verdicts; below it their shares are not computed."""


def of_criterion(criterion: Criterion, probabilities: Mapping[str, float]) -> float | None:
    """The expected value of a criterion, given a verdict other than `unknown`; on a binary scale P(pass).

    Args:
        criterion: The criterion; its options give the values.
        probabilities: By verdict, 0..1; `unknown` may be included.

    Returns:
        0..1; None when (nearly) all probability is on `unknown`.

    Example:
        >>> binary = Criterion(id="done", question="Is it done?", pass_when="It is.")
        >>> of_criterion(binary, {"pass": 0.75, "fail": 0.0, "unknown": 0.25})
        1.0
        >>> of_criterion(binary, {"unknown": 1.0}) is None
        True
    """
    shares = _shares(criterion, probabilities)
    return None if shares is None else _mean(criterion, shares)


def of_aggregate(criteria: Sequence[Criterion], probabilities: Mapping[str, Mapping[str, float]]) -> float | None:
    """The expected value of an aggregate over criteria, which are taken as independent.

    A required criterion on its lowest verdict makes the aggregate 0, so the mean is multiplied by the probability that
    none is.

    Args:
        criteria: The decided criteria.
        probabilities: By criterion id, the probabilities of its verdicts.

    Returns:
        0..1; None without criteria, or when one of them has no probabilities.

    Example:
        >>> done = Criterion(id="done", question="?", pass_when="It is.", required=True)
        >>> clear = Criterion(id="clear", question="?", pass_when="It is.")
        >>> of_aggregate([done, clear], {"done": {"pass": 0.5, "fail": 0.5}, "clear": {"pass": 1.0, "fail": 0.0}})
        0.5
    """
    stands, total = 1.0, 0.0
    for criterion in criteria:
        shares = _shares(criterion, probabilities.get(criterion.id, {}))
        if shares is None:
            return None
        mean = _mean(criterion, shares)
        if criterion.required:
            above = 1.0 - shares.get(min(criterion.options, key=criterion.options.__getitem__), 0.0)
            stands *= above
            mean = mean / above if above > MIN_DECIDED else 0.0
        total += criterion.weight * mean
    weights = sum(criterion.weight for criterion in criteria)
    return min(max(stands * total / weights, 0.0), 1.0) if criteria else None


def _shares(criterion: Criterion, probabilities: Mapping[str, float]) -> dict[str, float] | None:
    """Probabilities of the verdicts other than `unknown`, scaled to sum to 1; None where they are too small."""
    decided = {word: probabilities[word] for word in criterion.options if word in probabilities}
    total = sum(decided.values())
    return {word: p / total for word, p in decided.items()} if total > MIN_DECIDED else None


def _mean(criterion: Criterion, shares: Mapping[str, float]) -> float:
    return min(sum(criterion.options[word] * share for word, share in shares.items()), 1.0)
