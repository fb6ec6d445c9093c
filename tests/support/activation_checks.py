"""What must be true after an `ActivationStory`, when every night is drawn and no process works any more."""

from collections import Counter
from itertools import pairwise
from typing import Any

from sqlalchemy import select

from tests.support.activation_story import NAME, RUNS, ActivationStory
from tests.support.counting_judge import question
from tests.support.project import rows
from worker.core.rubric.parse import identity, parse
from worker.core.rubric.version import precedence
from worker.queries.judgments import run_judgments
from worker.store.queue import enrol
from worker.store.results import counts
from worker.store.rubrics import revisions, texts
from worker.store.tables import (
    EnrolmentRow,
    JobRow,
    NightRow,
    RevisionRow,
    RunRow,
    SampleRow,
    ScoreRow,
    ScorerRow,
    core,
)

enrolment, job, night_table, revision, run, sample, score, scorer = (
    core(row) for row in (EnrolmentRow, JobRow, NightRow, RevisionRow, RunRow, SampleRow, ScoreRow, ScorerRow)
)


def assert_exact(story: ActivationStory) -> None:
    """One version a night, exact counts, no question paid twice beyond those that a killed process held."""
    _assert_revisions(story)
    _assert_texts(story)
    _assert_outcomes(story)
    judged = _judged(story)
    _assert_payments(story, judged)
    _assert_readable(story, judged)
    assert not story.server.requests.failures


def _assert_revisions(story: ActivationStory) -> None:
    """Numbers without gaps, each revision a change, one version a night, and its scorers those of its revision."""
    assert {night: len(found) for night, found in story.versions_by_night().items()} == dict.fromkeys(story.nights, 1)
    stored = rows(story.project, select(revision).order_by(revision.c.number))
    assert [row.number for row in stored] == list(range(1, len(stored) + 1))
    assert all(one.digest != after.digest for one, after in pairwise(stored))
    by_number = {row.number: set(row.scorers) for row in stored}
    drawn = {
        row.night: row.revision for row in rows(story.project, select(night_table.c.night, night_table.c.revision))
    }
    first = select(enrolment.c.night, enrolment.c.scorer_pk).where(enrolment.c.purpose == "production")
    enrolled = rows(story.project, first)
    for night in story.nights:
        assert {row.scorer_pk for row in enrolled if row.night == night} == by_number[drawn[night]], night


def _assert_texts(story: ActivationStory) -> None:
    """Promotions refer to whole texts, each is a change, draws only rise, and the last one is what scores."""
    promoted = story.promotions()
    with story.project.store.read() as connection:
        stored = {one.hash: one for one in texts.texts_named(connection, NAME)}
        active = revisions.active_scorers(connection)
    assert {one.hash for one in promoted} <= set(stored)
    for one in stored.values():
        assert identity(parse(one.source, one.name, one.includes)) == one.hash
    assert all(one.hash != after.hash for one, after in pairwise(promoted))
    by_draws = [one.version for one in promoted if one.from_night is not None]
    assert by_draws == sorted(set(by_draws), key=precedence)
    assert [entry.key.spec["rubric_hash"] for entry in active if entry.key.name == NAME] == [promoted[-1].hash]


def _assert_outcomes(story: ActivationStory) -> None:
    """Every drawn run has one job and one aggregate score of each scorer that is enrolled, and the counts reconcile."""
    drawn = rows(
        story.project,
        select(sample.c.run_pk, enrolment.c.scorer_pk).join(enrolment, enrolment.c.night == sample.c.night),
    )
    jobs = rows(story.project, select(job.c.run_pk, job.c.scorer_pk, job.c.state))
    totals = rows(story.project, select(score.c.run_pk, score.c.scorer_pk).where(score.c.criterion.is_(None)))
    ids = rows(story.project, select(score.c.score_id))
    with story.project.store.read() as connection:
        counted = counts.night_counts(
            connection, story.nights[0], story.nights[-1], enrol.registered(connection), story.nights[0]
        )
    assert len(rows(story.project, select(sample.c.run_pk))) == len(story.nights) * RUNS
    assert Counter(row.state for row in jobs) == {"scored": len(jobs)}
    assert Counter((row.run_pk, row.scorer_pk) for row in jobs) == Counter(drawn)
    assert Counter(totals) == Counter(drawn)
    assert len(set(ids)) == len(ids)
    assert all(row.reconciles and row.scored == RUNS and row.pending == 0 for row in counted), counted
    assert len(counted) * RUNS == len(drawn)


def _judged(story: ActivationStory) -> set[Any]:
    """Every run and version that there is a job of the rubric for."""
    statement = (
        select(run.c.run_id, scorer.c.version)
        .select_from(job)
        .join(run, run.c.pk == job.c.run_pk)
        .join(scorer, scorer.c.pk == job.c.scorer_pk)
        .where(scorer.c.name == NAME)
    )
    return set(map(tuple, rows(story.project, statement)))


def _assert_payments(story: ActivationStory, judged: set[Any]) -> None:
    """Each question was asked once, and once more for each process that held it when it was killed, at most."""
    asked, lost = story.judge.asked, story.killing.lost
    assert set(asked) == judged
    assert not {one: (count, lost[one]) for one, count in asked.items() if count > 1 + len(lost[one])}


def _assert_readable(story: ActivationStory, judged: set[Any]) -> None:
    """What was asked and answered is stored, and is the text of the version that the job was enrolled with."""
    readable = set()
    for run_id, pk in rows(story.project, select(run.c.run_id, run.c.pk)):
        for one in run_judgments(story.project, pk):
            if one.kind == "judge":
                assert one.stored is not None, one.missing
                assert one.hash_ok
                assert all(call.reply is not None for call in one.stored.calls)
                said = "\n".join(message.content for call in one.stored.calls for message in call.messages)
                assert question(said) == (run_id, one.version)
                readable.add((run_id, one.version))
    assert readable == judged
