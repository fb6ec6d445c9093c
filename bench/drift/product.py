"""Alarms through the product: made-up runs of known quality through take, draw, score, summarise and compare.

Eight weeks of an agent whose quality stays as it is, or drops in one task type from week 5 on. In both the flagged rate
is doubled from week 6 on, the judge's budget is cut in week 7, and weekends are quiet. Drift is looked at every night,
as in production; scorers, sampling and alarms stand at their defaults unless an option says otherwise.
"""

import argparse
import asyncio
import io
import json
import math
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from worker.connectors.sources import jsonl
from worker.connectors.sources.source import Rejected
from worker.jobs.heuristic_loop import drain_heuristics
from worker.jobs.judge_loop import drain_judge
from worker.jobs.queue import JobQueue
from worker.judge.limits.adaptive import AdaptiveLimiter
from worker.judge.limits.call_queue import CallQueue
from worker.pipeline.draw import draw_night
from worker.pipeline.intake.take import take
from worker.pipeline.reconcile import finish_nights
from worker.project.project import Project
from worker.records import Drift, Judging, Question, Reply
from worker.settings import Settings
from worker.store.budget import accounts

WEEKS = 8
MONDAY = date(2026, 1, 5)
RATE_WEEK, CUT_WEEK, DROP_WEEK = 6, 7, 5
"""Counted from 1: since when the flagged rate is doubled; when the budget is cut; since when quality is lower."""
WEEKEND = 0.3
QUALITY = 0.88
"""How often a run without a failed or repeated tool call is good."""
CUT = 0.5
"""What the budget of the cut week pays for, as a share of a usual weekday's judging."""
MODEL = "in-process"
MTOK_USD = 1.0
SCORER = "task_completion"

TASKS = {"faq": (65, 0.10, 0.04), "refund": (45, 0.12, 0.0), "research": (25, 0.30, -0.05), "billing": (20, 0.18, 0.0)}
"""By task type: runs on a weekday, share with a failed or repeated tool call, and quality beside the usual."""
PLANTED = "refund"

_CASE = re.compile(r"case-[0-9a-f]{12}")


class Setup(NamedTuple):
    """What a history is made of, beside its seed."""

    drop: float = 0.0
    """How much quality falls in one task type from week 5 on, 0..1."""
    rate: float = 0.3
    flagged_rate: float = 0.3
    """Doubled from week 6 on."""
    planted_rate: float | None = None
    """Rate, flagged or not, of the task type that drops; as the others' when None."""
    floor_per_night: int = 3
    heuristics: tuple[str, ...] | None = None
    """All when None."""
    flagged_quality: float = 0.55
    """How often a run with a failed or repeated tool call is good."""
    more_calls: float = 0.61
    """Probability that a run makes one tool call more, after each; at .5 their median flips between 1 and 2."""


TEMPTING = Setup(rate=0.1, flagged_rate=0.4, floor_per_night=0, flagged_quality=0.2, heuristics=())
"""Flagged runs are much worse and much oftener looked at, so that whoever forgets the weights sees a drop."""


class Found(NamedTuple):
    """A finding and its week, counted from 1."""

    week: int
    drift: Drift

    @property
    def stream(self) -> str:
        """Scorer and task type, to read."""
        return f"{self.drift.stream.scorer} / {self.drift.stream.task_type or 'overall'}"


class Told(NamedTuple):
    """What a history came to."""

    found: list[Found]
    judged: list[int]
    """Verdicts of each night."""
    shed: int
    nights: int
    """Nights on which drift was looked for."""
    seconds: float


def history(folder: Path, seed: int, setup: Setup) -> Told:
    """One history, from its first run to its last night's findings; its database stays in the folder."""
    began = time.monotonic()
    rng = random.Random(seed)
    project = Project(_settings(setup, folder)).open()
    is_good: dict[str, bool] = {}
    judge = Judge(project, is_good)
    found: list[Found] = []
    judged: list[int] = []
    shed, usual = 0, 0.0
    with asyncio.Runner() as runner:
        for offset in range(7 * WEEKS):
            night, week = MONDAY + timedelta(days=offset), offset // 7 + 1
            over = datetime(night.year, night.month, night.day, 2, tzinfo=UTC) + timedelta(days=1)
            project = Project(_settings(setup, folder, week=week), project.store)  # other settings, as after a restart
            lines = io.BytesIO(b"\n".join(_runs(rng, night, setup, is_good)))
            take(project, jsonl.read(lines, now=over, limits=project.settings.intake), over, on_rejected=_complain)
            draw_night(project, night, over)
            drain_heuristics(JobQueue(project, "heuristic"), budget_s=3600, stop=_never)
            if week == CUT_WEEK:
                cap_usd = _spent_usd(project) + round(CUT * usual) * judge.usd
                project = Project(_settings(setup, folder, week=week, cap_usd=cap_usd), project.store)
            place = JobQueue(project, "judge")
            drained = runner.run(drain_judge(place, judge, concurrency=128, budget_s=3600, stop=_never))
            if night.weekday() < 5:
                usual += (drained.settled + drained.shed - usual) / 5  # of the last week or so
            judged.append(drained.settled)
            shed += drained.shed
            found += [Found(week, one) for one in finish_nights(project, over)[1]]
    project.store.close()
    return Told(found, judged, shed, 7 * WEEKS, time.monotonic() - began)


class Judge:
    """Answers at once from the known truth, for the price that was reserved."""

    def __init__(self, project: Project, is_good: dict[str, bool]) -> None:
        scorer = next(one for one in project.scorers.all if one.key.kind == "judge")
        self.usd = project.prices.max_usd(scorer) or 0.0
        """The price of every call, US dollars."""
        self._is_good = is_good
        self._gate = CallQueue(AdaptiveLimiter(128))

    def queue(self, model: str) -> CallQueue:
        """Nobody waits here; it says how many to claim."""
        return self._gate

    async def ask(self, question: Question) -> Reply:
        """All criteria pass, or all fail."""
        case = next(found.group() for each in question.messages if (found := _CASE.search(each.content)))
        verdict = "pass" if self._is_good[case] else "fail"
        said = {"evidence": [], "reason": "known", "verdict": verdict}
        answer = dict.fromkeys(question.answer_schema["properties"], said)
        judging = Judging(model_requested=MODEL, model_served=MODEL, cost_usd=self.usd)
        return Reply(content=json.dumps(answer), finish_reason="stop", judging=judging)


def _settings(setup: Setup, folder: Path, *, week: int = 1, cap_usd: float | None = None) -> Settings:
    """The settings of a week; what is not said here is the default."""
    flagged_rate = min(1.0, setup.flagged_rate * (2 if week >= RATE_WEEK else 1))
    own = {} if setup.planted_rate is None else {"rate": setup.planted_rate, "flagged_rate": setup.planted_rate}
    return Settings.model_validate(
        {
            "database_url": f"sqlite:///{folder / 'spotcheck.db'}",
            "sampling": {
                "rate": setup.rate,
                "flagged_rate": flagged_rate,
                "floor_per_night": setup.floor_per_night,
                "task_types": {PLANTED: own},
            },
            "scoring": {"heuristics": setup.heuristics},
            "judge": {
                "model": MODEL,
                "base_url": "http://127.0.0.1:9/v1",  # never called: the judge answers in process
                "budget_usd_per_day": cap_usd,
                "prices": {MODEL: {"input_usd_per_mtok": MTOK_USD, "output_usd_per_mtok": MTOK_USD}},
            },
        }
    )


def _spent_usd(project: Project) -> float:
    """What is spent today: a budget is for a calendar day of the clock, and all nights of a history fall on one."""
    with project.store.read() as connection:
        return accounts.day_balance(connection, project.nights.of(project.store.now(connection))).spent_usd


def _runs(rng: random.Random, night: date, setup: Setup, is_good: dict[str, bool]) -> Iterator[bytes]:
    """The runs of a night, as lines; notes which of them are good."""
    has_dropped = night >= MONDAY + timedelta(weeks=DROP_WEEK - 1)
    for task_type, (weekday_runs, flagged_share, better) in TASKS.items():
        volume = weekday_runs * (WEEKEND if night.weekday() >= 5 else 1.0)
        fallen = setup.drop if has_dropped and task_type == PLANTED else 0.0
        for _ in range(_poisson(rng, volume)):
            case = f"case-{rng.getrandbits(48):012x}"
            trouble = rng.random() < flagged_share
            is_good[case] = rng.random() < (setup.flagged_quality if trouble else QUALITY) + better - fallen
            yield orjson.dumps(_run(rng, night, task_type, case, setup.more_calls, trouble=trouble))


def _run(
    rng: random.Random, night: date, task_type: str, case: str, more_calls: float, *, trouble: bool
) -> dict[str, Any]:
    """A run whose texts say nothing of its quality; each heuristic has something to fail, at a constant rate."""
    ended = datetime(night.year, night.month, night.day, tzinfo=UTC) + timedelta(seconds=rng.randrange(86_400))
    amount = rng.randrange(20_00, 900_00) / 100
    calls = 1 + min(12, int(math.log(1 - rng.random()) / math.log(more_calls)))
    steps: list[dict[str, Any]] = [
        {"kind": "tool", "name": "look_up", "arguments": {"page": page}, "result": f"page {page}: ${amount:.2f}"}
        for page in range(calls)
    ]
    if trouble and rng.random() < 0.3:
        steps.append(dict(steps[-1]))
    elif trouble:
        steps[rng.randrange(calls)]["error"] = "upstream timeout"
    made_up = f", about {rng.randrange(1000, 9000)} in all" if rng.random() < 0.12 else ""
    status = rng.choices(["completed", "errored", "aborted"], [0.97, 0.02, 0.01])[0]
    return {
        "run_id": case,
        "agent": "bot",
        "agent_version": "1",
        "task_type": task_type,
        "status": status,
        "input": f"{case}: what does the account owe?",
        "output": "" if rng.random() < 0.01 else f"The account owes ${amount:.2f}{made_up}.",
        "steps": steps,
        "ended_at": ended.isoformat(),
        "latency_ms": round(rng.lognormvariate(8.0, 0.7), 1),
        "cost_usd": round(rng.lognormvariate(-4.0, 0.6), 6),
    }


def _poisson(rng: random.Random, mean: float) -> int:
    """Arrivals of a day at this mean rate."""
    count, passed = 0, rng.expovariate(mean)
    while passed < 1:
        count, passed = count + 1, passed + rng.expovariate(mean)
    return count


def _complain(rejected: Rejected) -> None:
    raise ValueError(f"a made-up run was rejected: {rejected.reason}")


def _never() -> bool:
    return False


def is_planted(found: Found) -> bool:
    """Whether a finding is the drop that was planted, or the overall line that holds it, after it was planted."""
    stream = found.drift.stream
    return stream.scorer == SCORER and stream.task_type in (PLANTED, None) and found.week >= DROP_WEEK


def nights_to(found: Found) -> int:
    """Nights from the first of the planted drop to its finding, both counted."""
    return (found.drift.found_night - (MONDAY + timedelta(weeks=DROP_WEEK - 1))).days + 1


def summary(told: Sequence[Told], drop: float) -> dict[str, Any]:
    """The figures of many histories."""
    alarms = [one for each in told for one in each.found if not (drop and is_planted(one))]
    answer: dict[str, Any] = {
        "histories": len(told),
        "drop": drop,
        "nights_monitored": sum(each.nights for each in told),
        "verdicts_a_night": round(statistics.mean(count for each in told for count in each.judged), 1),
        "shed": sum(each.shed for each in told),
        "seconds_a_history": round(statistics.mean(each.seconds for each in told), 1),
        "false_alarms": len(alarms),
        "false_alarms_by_stream": dict(Counter(one.stream for one in alarms).most_common()),
        "false_alarms_by_week": dict(sorted(Counter(one.week for one in alarms).items())),
    }
    if drop:
        firsts = [next((one for one in each.found if is_planted(one)), None) for each in told]
        right = [
            next((one for one in each.found if is_planted(one) and one.drift.stream.task_type), None) for each in told
        ]
        delays = [nights_to(one) for one in firsts if one is not None]
        answer |= {
            "found": sum(one is not None for one in firsts) / len(told),
            "found_in_the_task_type": sum(one is not None for one in right) / len(told),
            "nights_to_find": {"median": statistics.median(delays), "most": max(delays)} if delays else None,
            "right_stream_first": sum(map(_is_as_early, right, firsts)) / max(1, len(delays)),
        }
    return answer


def _is_as_early(one: Found | None, first: Found | None) -> bool:
    return one is not None and first is not None and one.drift.found_night == first.drift.found_night


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.drift.product", description=__doc__)
    parser.add_argument("--histories", type=int, default=40)
    parser.add_argument("--drop", type=float, default=0.0, help="points, 0..1, from week 5 on in one task type")
    parser.add_argument("--seed", type=int, default=1, help="of the first history")
    parser.add_argument("--rate", type=float, default=Setup().rate)
    parser.add_argument("--flagged-rate", type=float, default=Setup().flagged_rate, help="doubled from week 6 on")
    parser.add_argument(
        "--planted-rate", type=float, help="rate of the task type that drops; as the others' by default"
    )
    parser.add_argument("--more-calls", type=float, default=Setup().more_calls, help="chance of one tool call more")
    parser.add_argument("--heuristics", nargs="*", help="names; all by default")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    setup = Setup(
        drop=chosen.drop,
        rate=chosen.rate,
        flagged_rate=chosen.flagged_rate,
        planted_rate=chosen.planted_rate,
        heuristics=None if chosen.heuristics is None else tuple(chosen.heuristics),
        more_calls=chosen.more_calls,
    )
    told = []
    for seed in range(chosen.seed, chosen.seed + chosen.histories):
        with tempfile.TemporaryDirectory() as folder:
            told.append(history(Path(folder), seed, setup))
        for one in told[-1].found:
            drift = one.drift
            print(
                f"seed {seed}: {one.stream} in week {one.week} on {drift.found_night}: {drift.before:.3f} → "
                f"{drift.after:.3f}, {drift.scored} scored in {drift.window_nights} nights, z {drift.z:.2f}",
                file=sys.stderr,
                flush=True,
            )
        print(f"seed {seed}: {told[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    answer = summary(told, chosen.drop)
    if chosen.json:
        print(json.dumps(answer))
    else:
        for name, value in answer.items():
            print(f"{name:24s} {value}")


if __name__ == "__main__":
    main()
