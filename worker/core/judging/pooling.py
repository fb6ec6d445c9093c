"""Several answers to one question, for servers that give no probabilities: the mean is a better verdict than any."""

from collections import Counter
from collections.abc import Sequence

from worker.core.judging.escalation import is_readable
from worker.core.rubric.parse import Rubric
from worker.records import Outcome


def pool_samples(rubric: Rubric, readings: Sequence[Sequence[Outcome]]) -> tuple[Outcome, ...]:
    """One verdict from several.

    The value is the mean of the samples that decided, not the vote of their majority: it is nearer to what people say
    (one sample of a judge correlates .20 to .53 with them, the mean of twenty .41 to .65, and five give most of that),
    and a trend of it is less noisy. The aggregate is the mean of the samples' aggregates, so that a required criterion
    fails as many samples as it fails. Label, rationale and evidence are those of a sample on the side of the mean.

    Args:
        rubric: Whose threshold decides what a pass is.
        readings: Of each sample the aggregate, then one outcome a criterion; at least one.

    Returns:
        As one reading. `p_pass` is the share of passes, for a scale's levels the mean value. Unscored with the most
        frequent problem when less than half of the samples can be read, and unknown when most of those that can say so.

    Source: METHODS §7; JUDGE §3.
    """
    readable = [reading for reading in readings if is_readable(reading)]
    if 2 * len(readable) < len(readings):
        return _most_frequent(readings)
    aggregate, *criteria = (_pooled(each) for each in zip(*readable, strict=True))
    return (_labelled(rubric, aggregate, [reading[0] for reading in readable]), *criteria)


def _most_frequent(readings: Sequence[Sequence[Outcome]]) -> tuple[Outcome, ...]:
    """The outcomes of a sample with the problem that most of the unreadable ones have."""
    unread = [reading for reading in readings if not is_readable(reading)]
    ((reason, _),) = Counter(str(reading[0].reason) for reading in unread).most_common(1)
    return tuple(next(reading for reading in unread if reading[0].reason == reason))


def _pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """What several samples say of one criterion, or of the whole."""
    decided = [outcome for outcome in outcomes if outcome.value is not None]
    if 2 * len(decided) < len(outcomes):
        return next(outcome for outcome in outcomes if outcome.value is None)
    value = sum(outcome.value or 0.0 for outcome in decided) / len(decided)
    shares = [outcome.value if outcome.p_pass is None else outcome.p_pass for outcome in decided]
    votes = Counter(outcome.label for outcome in decided)
    # of labels that have as many votes the one nearest to the mean
    speaker = min(decided, key=lambda one: (-votes[one.label], abs((one.value or 0.0) - value)))
    p_pass = sum(share or 0.0 for share in shares) / len(shares)
    return speaker.model_copy(update={"value": min(value, 1.0), "p_pass": min(p_pass, 1.0)})


def _labelled(rubric: Rubric, pooled_one: Outcome, aggregates: Sequence[Outcome]) -> Outcome:
    """The aggregate with the label of its mean, in the words of a sample that has the same."""
    decided = [outcome for outcome in aggregates if outcome.value is not None]
    if pooled_one.value is None:
        return pooled_one
    label = "pass" if pooled_one.value >= rubric.threshold else "fail"
    p_pass = sum(_share(outcome) for outcome in decided) / len(decided)
    mean = pooled_one.value
    speaker = min(decided, key=lambda one: (one.label != label, abs((one.value or 0.0) - mean)))
    return speaker.model_copy(update={"value": mean, "label": label, "p_pass": p_pass})


def _share(aggregate: Outcome) -> float:
    """How sure one sample is that the run passes."""
    return float(aggregate.label == "pass") if aggregate.p_pass is None else aggregate.p_pass
