"""`spotcheck score` and `spotcheck nightly`: the night's work, waited for or handed to workers."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import typer

from worker.cli.commands.drift import describe, finding_json, none_found
from worker.cli.commands.sample import nights_asked
from worker.cli.context import now, project
from worker.cli.options import Json, Since, Until, night, window
from worker.cli.output import counted, inline, note, say, show_json, wrapped
from worker.cli.process.wake import Waking
from worker.cli.progress import progress
from worker.cli.stopping import StopRequest
from worker.cli.views import verdicts
from worker.cli.views.empty import no_runs
from worker.cli.views.left_alone import tell_left_alone
from worker.cli.views.night_line import as_json as night_json
from worker.cli.views.night_line import night_line
from worker.cli.views.run import Source, find_run
from worker.cli.views.unseen import warn_unseen
from worker.core.calendar import nights_between
from worker.core.judging.unread import ENOUGH
from worker.errors import EXIT_DRIFT, EXIT_JUDGE, SettingsError
from worker.jobs.processor import JobProcessor
from worker.judge.limits import redis_quota
from worker.pipeline.deliver import deliver
from worker.pipeline.draw import draw_night
from worker.pipeline.nightly import Waited, finish, open_jobs, wait_for_scores
from worker.pipeline.operations.standing import look_at_standing
from worker.pipeline.operations.watch import watch
from worker.pipeline.reconcile import reconcile, wake_due
from worker.pipeline.score_run import score_run
from worker.project.project import Project
from worker.queries.night_summary import NightSummary, night_summary
from worker.queries.runs import undrawn_nights
from worker.queries.status import BlockedJobs, batch_of, is_batch
from worker.queries.unread import unread_rubrics
from worker.records import Drift
from worker.records.sample import StratumDraw

Lane = Annotated[
    Literal["now", "batch"] | None,
    typer.Option(
        "--lane", help="Ask judges now, or in batches: half the price, within a day. Else as the settings say."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait to the end, and work here when no live worker is seen.")]


def score(
    wait: Wait = False,
    lane: Lane = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN_ID", help="Score this run here and now, and show the verdict.")
    ] = None,
    source: Source = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option("--scorer", metavar="S", help="With --run: NAME, NAME@VERSION or a series id; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Queue what is due and wake the workers; --wait shows a progress bar to the end.

    With --lane, what is queued for a judge goes that way from now on; what is under way in a batch stays there.

    With --run one run is scored here by the active scorers, and its verdicts are shown. It need not be drawn: then they
    are in no estimate. It spends the money of backfills; what is scored already is shown, not asked again.

    Examples: spotcheck score · spotcheck score --wait · spotcheck score --run r-88121
    """
    if run is not None:
        _score_run(run, source, scorer or [], lane, as_json=as_json)
        return
    if source is not None or scorer:
        raise SettingsError(
            "--source and --scorer belong to --run; drawn nights are scored again by spotcheck backfill"
        )
    opened = project(creates=True)
    _check(opened)
    opened.lanes.wanted = lane
    wake = Waking(opened)
    warn_without_judge(opened)
    reconcile(opened, now(), wake, may_remove=False)
    if lane is not None:
        opened.lanes.send(lane)
    waiting = open_jobs(opened, in_force_only=wait)
    if not wait:
        _answer({"open": waiting}, wake.told(waiting), as_json=as_json)
        return
    waited = wait_here(opened, wake)
    found = finish(opened, now())
    settled = waiting - waited.still_open
    answer = {"settled": settled, "open": waited.still_open, "findings": [finding_json(finding) for finding in found]}
    _answer(answer, f"{counted(settled, 'job')} settled, {waited.still_open:,} still open", as_json=as_json)
    exit_waited(opened, waited)


def _score_run(run_id: str, source: str | None, names: Sequence[str], lane: str | None, *, as_json: bool) -> None:
    if lane == "batch":
        raise SettingsError("--run is scored at once; --lane batch takes up to a day")
    opened = project()
    pk, run = find_run(opened, run_id, source)
    warn_without_judge(opened)
    stopping = StopRequest()
    with (
        stopping.listening(),
        JobProcessor(opened, share=redis_quota.shared(opened.settings)) as processor,
        progress(f"score {run_id}"),
    ):
        answer = score_run(opened, processor, pk, run, now(), names=names, stop=stopping, on_trouble=_TroubleNotice())
    if as_json:
        show_json(verdicts.as_json(run, opened.nights.of(run.ended_at), answer))
    else:
        for line in verdicts.lines(run, answer):
            indent = line[: len(line) - len(line.lstrip())]
            for part in wrapped(line, f"{indent}  "):
                say(part)
    if answer.trouble is not None:
        note(f"spotcheck: not scored: {answer.trouble}; the same command goes on from there")
        raise typer.Exit(130 if stopping() else EXIT_JUDGE)


def nightly(
    on: Annotated[str | None, typer.Option("--date", metavar="D", help="One night, YYYY-MM-DD.")] = None,
    since: Since = None,
    until: Until = None,
    wait: Wait = False,
    lane: Lane = None,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit 10 when a finding or an alert about the pipeline is open.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw, score, summarise and compare: what runs every night.

    Without dates: every night missed since the project's first tick, once each. History from before that is scored
    only when asked for, with --date or a range; a range replays it night by night and sends nothing outside. Repeating
    a night adds nothing.

    Examples: spotcheck nightly --wait · spotcheck nightly --since 2026-09-28 --until 2026-11-22 --wait
    """
    if on is not None and (since is not None or until is not None):
        raise SettingsError("give --date, or --since and --until, not both")
    first, last = window(since, until) if on is None else (night(on, "--date"),) * 2
    opened = project(creates=True)
    opened.lanes.wanted = lane
    opened.nights.is_replaying = since is not None or until is not None
    began = now()
    nights = nights_asked(opened, since or on, until or on)
    _check(opened)
    wake = Waking(opened)
    opened.nights.first_tick(now())
    if on is None and not opened.nights.is_replaying:
        _warn_of_history(opened)
    warn_without_judge(opened)
    strata = _draw(opened, nights)
    warn_unseen(opened, strata)
    is_named = on is not None or opened.nights.is_replaying
    looked_at = nights if is_named else _recent_nights(opened)
    population, drawn = sum(draw.population for draw in strata), sum(draw.sampled for draw in strata)
    answer: dict[str, Any] = {"nights": nights, "population": population, "sampled": drawn}
    words = f"{counted(len(nights), 'night')}, {drawn:,} of {population:,} runs drawn"
    if not nights:
        words = "no night is due"
    if is_named and not population and (why := no_runs(opened, first, last)):
        words = why
    with progress("look at every run"):
        seen = watch(opened, now(), (nights[0], nights[-1]) if is_named and nights else None).found
    if not wait:
        wake_due(opened, wake)
        look_at_standing(opened, now(), is_asked=True)
        _send_alerts(opened)
        answer["open"] = open_jobs(opened)
        summary = night_summary(opened, [])
        answer |= night_json(summary)
        _answer(answer, night_line(words, wake.told(answer["open"]), summary), as_json=as_json)
        tell_left_alone(opened, looked_at, with_older=not is_named)
        _exit_found(summary, found=seen, is_asked=fail_on_drift)
        return
    # all nights: what earlier ones left open would hold their summaries back; a backfill holds back none
    waited = wait_here(opened, wake, "nightly")
    with progress("summarise and compare"):
        found = seen + finish(opened, now())
        look_at_standing(opened, now(), is_asked=True)
    _send_alerts(opened)
    answer |= {"open": waited.still_open, "findings": [finding_json(finding) for finding in found]}
    summary = night_summary(opened, nights)
    answer |= night_json(summary)
    if not as_json:
        for finding in found:
            for line in describe(finding):
                say(line)
        if not found and nights and not waited.still_open and not (summary.open_findings or summary.pipeline):
            say(none_found(opened))
    rest = f"{counted(waited.still_open, 'job')} still open" if waited.still_open else "no job is open"
    _answer(answer, night_line(words, rest, summary), as_json=as_json)
    for alert in summary.pipeline:
        if alert.raised_at < began:  # what is new stands in a line of its own already
            note(alert.text)
    tell_left_alone(opened, looked_at, with_older=not is_named)
    exit_waited(opened, waited, "nightly")
    _exit_found(summary, found=found, is_asked=fail_on_drift)


def _exit_found(summary: NightSummary, *, found: Sequence[Drift], is_asked: bool) -> None:
    """Exit 10, where it is asked for, for what was found now and for what is open from before."""
    if is_asked and (found or summary.open_findings or summary.pipeline):
        raise typer.Exit(EXIT_DRIFT)


def _warn_of_history(opened: Project) -> None:
    """Tell of runs that were imported from before the project's start: nobody scores them unasked."""
    start = opened.nights.start()
    if start is None:
        return
    nights = undrawn_nights(opened, start)
    if nights:
        told = counted(len(nights), "earlier night")
        verb = "is" if len(nights) == 1 else "are"
        note(f"{told} {verb} not scored; spotcheck nightly --since {nights[0]} --until {nights[-1]} --wait")


def _check(opened: Project) -> None:
    """Tell of wrong settings and rubrics before anything is drawn."""
    opened.scorers.tell(opened.scorers.candidate().lines)
    opened.prices.check()


def _recent_nights(opened: Project) -> list[date]:
    """The nights of the lookback: what is older is told where somebody names it."""
    last = opened.nights.last_over(now())
    return list(nights_between(last - timedelta(days=opened.settings.sampling.lookback_nights), last))


def _draw(opened: Project, nights: Sequence[date]) -> list[StratumDraw]:
    strata: list[StratumDraw] = []
    with progress("draw") as bar:
        for index, night in enumerate(nights):
            bar.set(index, len(nights))
            strata += draw_night(opened, night, now())
    return strata


def _send_alerts(opened: Project) -> None:
    """Send what waits. A destination's wrong address must not hide what the night gave: it is one line on stderr."""
    try:
        deliver(opened, now())
    except SettingsError as error:
        note(f"alerts wait, since {error}")


def wait_here(opened: Project, wake: Waking, account: str | None = None) -> Waited:
    """Wait for scores with a progress bar, of nights and backfills or one of them; Ctrl-C ends it, jobs stay."""
    stopping = StopRequest()
    with (
        stopping.listening(),
        JobProcessor(opened, share=redis_quota.shared(opened.settings)) as processor,
        progress("score") as bar,
    ):
        return wait_for_scores(
            opened,
            processor,
            wake,
            account=account,
            stop=stopping,
            on_wait=_UnreadNotice(opened, bar.set),
            on_trouble=_TroubleNotice(),
            on_held=_Waits(opened),
        )


class _TroubleNotice:
    """Says once a command what the judge's trouble is: a server may word the same trouble anew each time."""

    def __init__(self) -> None:
        self._is_told = False

    def __call__(self, trouble: str) -> None:
        if not self._is_told:
            note(f"{trouble}; trying again for about a minute, or as long as it asks to wait")
        self._is_told = True


class _UnreadNotice:
    """Shows the progress, and says once what to change where all of a night comes back without a score."""

    def __init__(self, opened: Project, shown: Callable[[int, int], None]) -> None:
        self._opened, self._shown = opened, shown
        self._looked_at, self._told = 0, False

    def __call__(self, done: int, total: int) -> None:
        self._shown(done, total)
        if self._told or done < self._looked_at + ENOUGH:
            return
        self._looked_at = done
        for one in unread_rubrics(self._opened):
            note(inline(one.line))
            self._told = True


class _Waits:
    """Says once for whom or for what it is waiting, and until when."""

    def __init__(self, opened: Project) -> None:
        self._opened = opened
        self._told: set[str | None] = set()

    def __call__(self, held: Sequence[BlockedJobs]) -> None:
        for one in held:
            key = one.owner or one.reason
            if key in self._told:
                continue
            self._told.add(key)
            jobs = counted(one.jobs, "job")
            at = one.until.astimezone(self._opened.settings.zone).strftime("%H:%M:%S %Z")
            if one.owner is not None and is_batch(one.owner):
                note(f"{jobs} wait for {self._batch(one.owner)}; Ctrl-C leaves them there, workers take them in")
            elif one.owner is None:
                note(f"{jobs} will be tried again from {at} on: {one.reason or 'given back'}")
            else:
                host, _, pid = one.owner.rpartition(":")[0].rpartition(":")
                has = "is" if one.jobs == 1 else "are"
                note(
                    f"{jobs} {has} held until {at} by process {pid} on {host}; if it is gone, they are taken over then"
                )

    def _batch(self, owner: str) -> str:
        """Which batch, how far it is, and when it is given up."""
        one = batch_of(self._opened, owner)
        if one is None:
            return "a batch"
        until = one.deadline_at.astimezone(self._opened.settings.zone).strftime("%d %b %H:%M %Z")
        trouble = f" ({one.trouble})" if one.trouble else ""
        return f"batch {one.pk} of {one.model}, {one.server_state or one.state}{trouble}, at most until {until}"


def _waiting_for_a_judge(opened: Project, left: int, account: str | None) -> None:
    """Say that there are jobs that nobody can do now."""
    if more := open_jobs(opened, account=account) - left:
        note(f"{counted(more, 'job')} of a judge that is not configured now wait for it; they are kept")


def warn_without_judge(opened: Project) -> None:
    """Say what rubrics give where no judge is configured."""
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


def exit_waited(opened: Project, waited: Waited, account: str | None = None) -> None:
    """End a command with what its wait came to: nothing to say, the judge's trouble, or an interruption."""
    _waiting_for_a_judge(opened, waited.still_open, account)
    if waited.postponed:
        waits = "waits" if waited.postponed == 1 else "wait"
        note(
            f"{counted(waited.postponed, 'job')} of a backfill {waits} for tomorrow: today's money for backfills is "
            "spent ([judge] backfill_usd_per_day); nothing is skipped"
        )
    still_open = waited.still_open - waited.postponed
    silence = waited.drained.outage if still_open else None
    left = f"{counted(still_open, 'job')} left in the ledger, spotcheck score --wait goes on from there"
    if waited.drained.refused or silence:
        note(f"spotcheck: {waited.drained.refused or silence}; {left}")
        raise typer.Exit(EXIT_JUDGE)
    if still_open:
        note(left)
        raise typer.Exit(130)
