"""Probabilities of verdicts as one number: how probable a pass is, or where on its scale a run stands on average."""

from collections.abc import Mapping, Sequence

from worker.core.rubric.schema import Criterion

MIN_DECIDED = 1e-6
"""When all decided verdicts together are less probable than this, nothing is said about how they compare."""


def of_criterion(criterion: Criterion, said: Mapping[str, float]) -> float | None:
    """The expected value of a criterion, given that it is decided; on a binary scale the probability of a pass.

    Args:
        criterion: Whose options the words are.
        said: Probability of each verdict, `unknown` included, which does not count.

    Returns:
        0..1; None when the words say nothing about it.

    Example:
        >>> binary = Criterion(id="done", question="Is it done?", pass_when="It is.")
        >>> of_criterion(binary, {"pass": 0.75, "fail": 0.0, "unknown": 0.25})
        1.0
        >>> of_criterion(binary, {"unknown": 1.0}) is None
        True
    """
    shares = _shares(criterion, said)
    return None if shares is None else _mean(criterion, shares)


def of_whole(criteria: Sequence[Criterion], said: Mapping[str, Mapping[str, float]]) -> float | None:
    """The expected value of an aggregate over these criteria, each taken to be decided apart from the others.

    A required criterion on its lowest verdict makes the whole 0, so each counts with the probability that none does.

    Args:
        criteria: Those that were decided.
        said: Probabilities of verdicts by criterion.

    Returns:
        0..1; None when there are none, or for one of them nothing is known.

    Example:
        >>> one = Criterion(id="one", question="?", pass_when="It is.", required=True)
        >>> two = Criterion(id="two", question="?", pass_when="It is.")
        >>> of_whole([one, two], {"one": {"pass": 0.5, "fail": 0.5}, "two": {"pass": 1.0, "fail": 0.0}})
        0.5
    """
    stands, total = 1.0, 0.0
    for criterion in criteria:
        shares = _shares(criterion, said.get(criterion.id, {}))
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


def _shares(criterion: Criterion, said: Mapping[str, float]) -> dict[str, float] | None:
    """Probabilities of the verdicts that decide, given that one does."""
    decided = {word: said[word] for word in criterion.options if word in said}
    total = sum(decided.values())
    return {word: p / total for word, p in decided.items()} if total > MIN_DECIDED else None


def _mean(criterion: Criterion, shares: Mapping[str, float]) -> float:
    return min(sum(criterion.options[word] * share for word, share in shares.items()), 1.0)
