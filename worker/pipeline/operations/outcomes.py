"""What became of a night's jobs: scorers that gave no score at all, and runs that a budget left out, are told."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from worker.core.judging.unread import ADVICE
from worker.pipeline.operations.troubles import PipelineTrouble, Recovery, settle
from worker.project.project import Project
from worker.store.results import alerts, counts
from worker.store.results.counts import NightOutcome
from worker.store.runs import draws

SCORES, BUDGET = "scores", "budget"
"""The two checks, as subjects of their alerts begin."""
_FEWEST = 5
"""Runs that must have ended without a score; fewer in one night are added to those of the nights before."""
_HARDLY_ANY = 0.1
"""With less than this share of scores a scorer counts as having given none."""
_NIGHTS_BEFORE = 7


def look_at_outcomes(project: Project, nights: Sequence[date], now: datetime) -> None:
    """Tell, once each, what scored nothing and what was left out for money on these nights, and when that is over.

    Args:
        project: Whose.
        nights: Nights that were just summarised. One with open jobs is looked at when it is summarised again.
        now: The time.
    """
    for night in sorted(nights):
        with project.store.write() as connection:
            draws.lock_night(connection, night)
            found = counts.night_outcomes(connection, [night])
            rubrics = [
                one for one in found if one.kind == "judge"
            ]  # a heuristic without scores lacks what they lack too
            _look_for_scores(project, connection, rubrics, night, now)
            _look_for_cuts(project, connection, found, night, now)


def _look_for_scores(
    project: Project, connection: Connection, found: Sequence[NightOutcome], night: date, now: datetime
) -> None:
    troubles, over = [], []
    told = {one.subject for one in alerts.open_troubles(connection, SCORES)}
    for one in found:
        subject = f"{SCORES}:{one.scorer}"
        if one.open or not one.asked:  # nothing can be said of it: what is told stays told
            if subject in told:
                troubles.append(PipelineTrouble(subject, night, ""))
        elif one.scored < _HARDLY_ANY * one.asked:
            troubles += _without_scores(connection, one, night, is_told=subject in told)
        elif subject in told:
            over.append(Recovery(subject, f"{one.scorer} gives scores again: {one.scored:,} on {night:%a %d %b}"))
    silent = told - {one.subject for one in troubles} - {one.subject for one in over}
    troubles += [PipelineTrouble(subject, night, "") for subject in silent]  # it had no jobs on this night
    settle(project, connection, SCORES, troubles, night, now, recovered=over)


def _without_scores(connection: Connection, one: NightOutcome, night: date, *, is_told: bool) -> list[PipelineTrouble]:
    """The trouble of a scorer that gave none; nothing while too few were asked for."""
    nights = [night]
    before = night - timedelta(days=1)
    asked, scored = one.asked, one.scored
    while asked < _FEWEST and not is_told and len(nights) < _NIGHTS_BEFORE:
        earlier = [each for each in counts.night_outcomes(connection, [before]) if each.scorer == one.scorer]
        if earlier and (earlier[0].scored or earlier[0].open):
            break
        asked += sum(each.asked for each in earlier)
        nights.append(before)
        before -= timedelta(days=1)
    if asked < _FEWEST and not is_told:
        return []
    reasons = counts.unscored_reasons(connection, nights).get(one.scorer, {})
    why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:3])
    main = max(reasons, key=lambda reason: reasons[reason], default="")
    when = f"{night:%a %d %b}" if len(nights) == 1 else f"the {len(nights)} nights up to {night:%a %d %b}"
    some = "none" if not scored else f"{scored:,}"
    text = f"{one.scorer}: {some} of {asked:,} runs of {when} got a score: {why or 'all failed'}"
    advice = ADVICE.get(main)
    details = {"asked": asked, "scored": scored, "reasons": reasons}
    text = f"{text}; {advice}" if advice else text
    return [PipelineTrouble(f"{SCORES}:{one.scorer}", nights[-1], text, None, details)]


def _look_for_cuts(
    project: Project, connection: Connection, found: Sequence[NightOutcome], night: date, now: datetime
) -> None:
    """Jobs that a budget left out, of all scorers together; the night after without any ends it."""
    cut: Mapping[str, int] = {one.scorer: one.shed["budget"] for one in found if one.shed.get("budget")}
    told = alerts.open_troubles(connection, BUDGET)
    if not cut and any(one.open for one in found):
        return
    troubles = []
    if cut:
        jobs = sum(one.asked + one.open for one in found if one.scorer in cut) + sum(cut.values())
        by = ", ".join(f"{name} {count:,}" for name, count in cut.items())
        text = (
            f"the budget left out {sum(cut.values()):,} of {jobs:,} scores of {night:%a %d %b} ({by}); "
            "raise [judge] budget_usd_per_day, or lower [sampling] rate"
        )
        troubles = [PipelineTrouble(BUDGET, night, text, None, {"left_out": cut, "of": jobs})]
    over = [Recovery(BUDGET, f"the budget left out nothing on {night:%a %d %b}")] if told else []
    settle(project, connection, BUDGET, troubles, night, now, recovered=over)
