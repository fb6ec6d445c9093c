"""Jobs of a batch that were answered before: they need no line in it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from worker.jobs.outcome import judgment_of, settled
from worker.jobs.queue import ClaimedJob
from worker.jobs.reply_cache import can_reuse, key_of, unpack
from worker.project.project import Project
from worker.records import JudgeCall
from worker.scorers.rubric.questions import Prepared
from worker.scorers.rubric.scorer import RubricScorer
from worker.store.queue import replies
from worker.store.queue.job import Job
from worker.store.queue.settling import Settled


class CachedJobs(NamedTuple):
    """What is known of some jobs, by their keys."""

    settled: Mapping[int, Settled]
    """Their outcomes."""
    doubtful: Mapping[int, Job]
    """Those about which a second judge has to be asked, which no batch does."""


def look_up(project: Project, ready: Sequence[tuple[ClaimedJob, Prepared]]) -> CachedJobs:
    """The jobs all of whose questions were answered before; one query for all of them.

    Args:
        project: Whose answers; with `[judge] answers_days` 0 none are kept.
        ready: Jobs with their questions.
    """
    judge = project.settings.judge
    server = judge.base_url or ""
    keys: dict[int, list[str]] = {}
    for work, prepared in ready:
        is_repeated = any(question.is_repeated for question in prepared.questions)
        if judge.answers_days and can_reuse(work.job) and not is_repeated:
            keys[work.job.pk] = [key_of(server, question) for question in prepared.questions]
    if not keys:
        return CachedJobs({}, {})
    with project.store.read() as connection:
        since = project.store.now(connection) - timedelta(days=judge.answers_days)
        bodies = replies.get_many(connection, [key for job_keys in keys.values() for key in job_keys], since)
    done: dict[int, Settled] = {}
    doubtful: dict[int, Job] = {}
    for work, prepared in ready:
        kept = [unpack(bodies[key]) for key in keys.get(work.job.pk, ()) if key in bodies]
        readable = [reply for reply in kept if reply is not None]
        if len(readable) < len(prepared.questions) or work.run is None:
            continue
        assert isinstance(work.scorer, RubricScorer)
        scoring = work.scorer.reader.read(prepared, readable)
        if work.scorer.builder.second_questions(prepared, scoring):
            doubtful[work.job.pk] = work.job
        else:
            calls = [JudgeCall(*pair) for pair in zip(prepared.questions, readable, strict=True)]
            judgment = judgment_of(work.scorer, work.run, calls, scoring)
            done[work.job.pk] = settled(work.job, work.run, work.scorer.key, scoring)._replace(judgment=judgment)
    return CachedJobs(done, doubtful)
