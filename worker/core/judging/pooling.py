"""One verdict from several samples of a judge, for servers that return no probabilities."""

from collections import Counter
from collections.abc import Sequence

from worker.core.judging.escalation import is_readable
from worker.core.rubric.parse import Rubric
from worker.records import Outcome


def pool_samples(rubric: Rubric, readings: Sequence[Sequence[Outcome]]) -> tuple[Outcome, ...]:
    """The mean of several samples as one verdict.

    The value is the mean of the samples with a value, not the majority vote: the mean agrees better with people (one
    sample of a judge correlates .20 to .53 with them, the mean of twenty .41 to .65, and five give most of that), and
    its trend is less noisy. The aggregate is the mean of the samples' aggregates, so that a required criterion counts
    in the samples in which it fails. Label, rationale and evidence come from a sample on the side of the mean.

    Args:
        rubric: Its threshold decides what a pass is.
        readings: For each sample the aggregate, then one outcome for each criterion; at least one sample.

    Returns:
        The aggregate, then one outcome for each criterion. `p_pass` is the share of passes, for a graded scale the mean
        value. Unscored with the most frequent problem when fewer than half of the samples can be read; `unknown` when
        fewer than half of the readable ones have a value.

    Source: METHODS §7; JUDGE §3.
    """
    readable = [reading for reading in readings if is_readable(reading)]
    if 2 * len(readable) < len(readings):
        return _most_frequent(readings)
    aggregate, *criteria = (_pooled(outcomes) for outcomes in zip(*readable, strict=True))
    return (_labelled(rubric, aggregate, [reading[0] for reading in readable]), *criteria)


def _most_frequent(readings: Sequence[Sequence[Outcome]]) -> tuple[Outcome, ...]:
    """The outcomes of a sample with the most frequent problem among the unreadable ones."""
    unread = [reading for reading in readings if not is_readable(reading)]
    ((reason, _),) = Counter(str(reading[0].reason) for reading in unread).most_common(1)
    return tuple(next(reading for reading in unread if reading[0].reason == reason))


def _pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """The pooled outcome of one criterion, or of the aggregate."""
    decided = [outcome for outcome in outcomes if outcome.value is not None]
    if 2 * len(decided) < len(outcomes):
        return next(outcome for outcome in outcomes if outcome.value is None)
    value = sum(outcome.value or 0.0 for outcome in decided) / len(decided)
    shares = [outcome.value if outcome.p_pass is None else outcome.p_pass for outcome in decided]
    votes = Counter(outcome.label for outcome in decided)
    # among labels with equally many votes the one nearest to the mean
    speaker = min(decided, key=lambda outcome: (-votes[outcome.label], abs((outcome.value or 0.0) - value)))
    p_pass = sum(share or 0.0 for share in shares) / len(shares)
    return speaker.model_copy(update={"value": min(value, 1.0), "p_pass": min(p_pass, 1.0)})


def _labelled(rubric: Rubric, pooled: Outcome, aggregates: Sequence[Outcome]) -> Outcome:
    """The pooled aggregate with the label of its mean, and the rationale of a sample with the same label."""
    decided = [outcome for outcome in aggregates if outcome.value is not None]
    if pooled.value is None:
        return pooled
    label = "pass" if pooled.value >= rubric.threshold else "fail"
    p_pass = sum(_share(outcome) for outcome in decided) / len(decided)
    mean = pooled.value
    speaker = min(decided, key=lambda outcome: (outcome.label != label, abs((outcome.value or 0.0) - mean)))
    return speaker.model_copy(update={"value": mean, "label": label, "p_pass": p_pass})


def _share(aggregate: Outcome) -> float:
    """The probability of a pass by one sample, 0..1."""
    return float(aggregate.label == "pass") if aggregate.p_pass is None else aggregate.p_pass
