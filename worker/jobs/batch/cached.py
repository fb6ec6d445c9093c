"""Jobs of a batch that were answered before: they need no line in it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from worker.jobs.outcome import settled
from worker.jobs.queue import ClaimedJob
from worker.jobs.reply_cache import is_served, key_of, unpacked
from worker.project.project import Project
from worker.scorers.rubric.questions import Prepared
from worker.scorers.rubric.scorer import RubricScorer
from worker.store.queue import replies as answers
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled


class CachedJobs(NamedTuple):
    """What is known of some jobs, by their keys."""

    settled: Mapping[int, Settled]
    """Their outcomes."""
    doubtful: Mapping[int, Job]
    """Those about which a second judge has to be asked, which no batch does."""


def look_up(project: Project, ready: Sequence[tuple[ClaimedJob, Prepared]]) -> CachedJobs:
    """The jobs all of whose questions were answered before; one query for all of them."""
    judge = project.settings.judge
    server = judge.base_url or ""
    keys: dict[int, list[str]] = {}
    for one, prepared in ready:
        if judge.answers_days and is_served(one.job) and not any(each.is_repeated for each in prepared.questions):
            keys[one.job.pk] = [key_of(server, each) for each in prepared.questions]
    if not keys:
        return CachedJobs({}, {})
    with project.store.read() as connection:
        since = project.store.now(connection) - timedelta(days=judge.answers_days)
        bodies = answers.get_many(connection, [key for each in keys.values() for key in each], since)
    done: dict[int, Settled] = {}
    doubtful: dict[int, Job] = {}
    for one, prepared in ready:
        replies = [unpacked(bodies[key]) for key in keys.get(one.job.pk, ()) if key in bodies]
        known = [reply for reply in replies if reply is not None]
        if len(known) < len(prepared.questions) or one.run is None:
            continue
        assert isinstance(one.scorer, RubricScorer)
        scoring = one.scorer.reader.read(prepared, known)
        if one.scorer.builder.second_questions(prepared, scoring):
            doubtful[one.job.pk] = one.job
        else:
            done[one.job.pk] = settled(one.job, one.run, one.scorer.key, scoring)
    return CachedJobs(done, doubtful)
