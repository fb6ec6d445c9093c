"""`spotcheck score` and `spotcheck nightly`: the night's work, waited for or handed to workers."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import typer

from worker import celery
from worker.cli.door import Json, Since, Stopping, Until, note, now, progress, project, say, show_json
from worker.cli.drift import describe, finding_json
from worker.cli.sample import nights_asked
from worker.errors import EXIT_DRIFT, EXIT_JUDGE, SettingsError
from worker.flow.desk import Desk
from worker.flow.draw import Drawn, draw_night
from worker.flow.nightly import Waited, finish, open_jobs, wait_for_scores
from worker.flow.project import Project
from worker.flow.reconcile import reconcile, wake_due

Wait = Annotated[bool, typer.Option("--wait", help="Wait to the end, and work here when no live worker is seen.")]


def score(wait: Wait = False, as_json: Json = False) -> None:
    """Queue what is due and wake the workers; --wait shows a progress bar to the end.

    Examples: spotcheck score · spotcheck score --wait
    """
    opened = project()
    celery.use(opened.settings)
    _warn_without_judge(opened)
    reconcile(opened, now(), celery.wake)
    waiting = open_jobs(opened)
    if not wait:
        _answer({"open": waiting}, f"{waiting:,} jobs are open; workers are told", as_json=as_json)
        return
    waited = _wait(opened, None)
    found = finish(opened, now())
    settled = waiting - waited.still_open
    answer = {"settled": settled, "open": waited.still_open, "findings": [finding_json(one) for one in found]}
    _answer(answer, f"{settled:,} jobs settled, {waited.still_open:,} still open", as_json=as_json)
    _exit(waited)


def nightly(
    on: Annotated[str | None, typer.Option("--date", metavar="D", help="One night, YYYY-MM-DD.")] = None,
    since: Since = None,
    until: Until = None,
    wait: Wait = False,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit 10 when drift is found.")] = False,
    as_json: Json = False,
) -> None:
    """Draw, score, summarise and compare: what runs every night.

    Without dates: every night missed since the project's first tick, once each. History from before that is scored
    only when asked for, with --date or a range; a range replays it night by night. Repeating a night adds nothing.

    Examples: spotcheck nightly --wait · spotcheck nightly --since 2026-09-28 --until 2026-11-22 --wait
    """
    if on is not None and (since is not None or until is not None):
        raise SettingsError("give --date, or --since and --until, not both")
    opened = project()
    opened.first_tick(now())
    opened.check_prices()
    celery.use(opened.settings)
    _warn_without_judge(opened)
    nights = nights_asked(opened, since or on, until or on)
    strata = _draw(opened, nights)
    population, drawn = sum(one.population for one in strata), sum(one.sampled for one in strata)
    answer: dict[str, Any] = {"nights": nights, "population": population, "sampled": drawn}
    words = f"{len(nights)} nights, {drawn:,} of {population:,} runs drawn" if nights else "no night is due"
    if not wait:
        wake_due(opened, celery.wake)
        answer["open"] = open_jobs(opened)
        _answer(answer, f"{words}; {answer['open']:,} jobs are open, workers are told", as_json=as_json)
        return
    # all nights: what earlier ones left open would hold their summaries back
    waited = _wait(opened, None)
    with progress("summarise and compare"):
        found = finish(opened, now())
    answer |= {"open": waited.still_open, "findings": [finding_json(one) for one in found]}
    _answer(answer, f"{words}; {waited.still_open:,} jobs still open", as_json=as_json)
    if not as_json:
        for one in found:
            for line in describe(one):
                say(line)
        if not found and nights and not waited.still_open:
            say("no drift found")
    _exit(waited)
    if found and fail_on_drift:
        raise typer.Exit(EXIT_DRIFT)


def _draw(opened: Project, nights: Sequence[date]) -> list[Drawn]:
    strata: list[Drawn] = []
    with progress("draw") as bar:
        for index, each in enumerate(nights):
            bar.set(index, len(nights))
            strata += draw_night(opened, each, now())
    return strata


def _wait(opened: Project, nights: tuple[date, date] | None) -> Waited:
    stopping = Stopping()
    with stopping.listening(), Desk(opened) as desk, progress("score") as bar:
        return wait_for_scores(
            opened, desk, celery.wake, nights=nights, stop=stopping, on_wait=bar.set, on_trouble=_trouble
        )


def _trouble(said: str) -> None:
    note(f"{said}; trying again in a quarter of a minute")


def _warn_without_judge(opened: Project) -> None:
    if not opened.settings.is_judge_configured and opened.settings.scoring.rubrics:
        note(
            "no judge is configured: rubrics give unscored(no_judge_configured). "
            "Set SPOTCHECK_JUDGE_MODEL and OPENAI_API_KEY or OPENAI_BASE_URL"
        )


def _answer(answer: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        show_json(answer)
    else:
        say(words)


def _exit(waited: Waited) -> None:
    silence = waited.drained.outage if waited.still_open else None
    if waited.drained.refused or silence:
        note(f"spotcheck: {waited.drained.refused or silence}")
        note(f"{waited.still_open:,} jobs wait in the ledger; spotcheck score --wait goes on from there")
        raise typer.Exit(EXIT_JUDGE)
    if waited.still_open:
        note(f"{waited.still_open:,} jobs are left; spotcheck score --wait goes on from there")
        raise typer.Exit(130)
