"""The made-up history: eight weeks of a shop's support and research agents, with releases and four planted changes."""

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from worker.demo.agents import advice, orders, research
from worker.demo.agents.draft import Draft, Fault, Outage, TokenProfile, priced, timed

WEEKS = 8
NIGHTS = 7 * WEEKS
QUALITY_DROP: Final = "quality drop"
MIX_SHIFT: Final = "mix shift"
TOOL_FAILURE: Final = "tool failure"
COST_RISE: Final = "cost rise"
What = Literal["quality drop", "mix shift", "tool failure", "cost rise"]
JUDGE_NOISE = 0.02
"""Probability that the simulated judge is wrong, in either direction."""
DROP = 0.20 / (1 - 2 * JUDGE_NOISE)
"""Drop of the share of good runs; with the judge's noise its scores drop by 20 points."""
GROWTH = 6.0
"""Factor on the traffic of a task type after the mix shift."""
FAILING = 0.3
"""Share of a tool's calls that fail after the planted failure."""
DEARER = 1.45
"""Factor on the cost of a run after the planted rise."""
_SHAKY, _SHAKY_WORSE = 0.03, 0.25
"""Share of runs with tool calls that time out and are repeated, and by how much fewer of these are good."""
_EMPTY = 0.006
"""Share of runs whose output is only an opener."""
_CANARY = 0.15
_OPENERS = ("Let me look into this for you.", "One moment please.", "Sure, I will check that.", "I'll take a look.")
_ERRORS = ("model overloaded (529) after 3 tries", "tool runner crashed", "context window exceeded", "rate limit (429)")
_STOPS = ("customer closed the chat", "step limit of 25 reached", "handed to a person", "cancelled by the caller")
_HOURS = {
    "support-bot": (1, 1, 0, 0, 1, 2, 5, 9, 14, 18, 20, 19, 16, 15, 15, 14, 13, 14, 16, 19, 20, 16, 9, 4),
    "scout": (0, 0, 0, 0, 0, 0, 2, 8, 18, 24, 26, 24, 14, 18, 24, 22, 18, 10, 4, 2, 1, 1, 0, 0),
}
"""By agent, relative traffic in each hour of the day."""
_WEEKDAYS = (1.12, 1.04, 1.0, 0.98, 1.0, 1.0, 1.0)


class Task(NamedTuple):
    """One task type of the made-up team."""

    agent: str
    runs: float
    """Mean runs on a weekday."""
    weekend: float
    """Traffic of a Saturday or Sunday, as a share of a weekday's."""
    quality: float
    """Share of good runs."""
    scenario: Callable[[Draft, date, str | None], None]
    faults: tuple[Fault, ...]
    usage: TokenProfile


TASKS: Mapping[str, Task] = {
    "refund": Task(
        "support-bot", 56, 0.65, 0.95, orders.refund, orders.REFUND_FAULTS, TokenProfile(1_900, 0.45)
    ),
    "order_status": Task(
        "support-bot", 76, 0.7, 0.97, orders.order_status, orders.STATUS_FAULTS, TokenProfile(1_500, 0.4)
    ),
    "product_question": Task(
        "support-bot", 58, 0.85, 0.96, advice.product_question, advice.PRODUCT_FAULTS, TokenProfile(2_100, 0.5)
    ),
    "billing": Task(
        "support-bot", 54, 0.5, 0.95, advice.billing, advice.BILLING_FAULTS, TokenProfile(1_800, 0.45)
    ),
    "supplier_research": Task(
        "scout",
        20,
        0.2,
        0.62,
        research.supplier_research,
        research.SUPPLIER_FAULTS,
        TokenProfile(3_400, 0.55, is_large=True),
    ),
    "sales_report": Task(
        "scout", 24, 0.25, 0.66, research.sales_report, research.REPORT_FAULTS, TokenProfile(2_600, 0.5, is_large=True)
    ),
}  # fmt: skip
_DROPS = {"refund": "promised", "billing": "promised", "product_question": "generic"}
"""Task types whose quality may fall, with the fault that gets frequent: one that no heuristic detects."""
_TOOLS = {
    "order_status": ("carrier.track", "503 Service Unavailable: carrier gateway"),
    "product_question": ("inventory.lookup", "connection reset by inventory-api after 0.2 s"),
}
_HARD = ("supplier_research", "sales_report")


class Planted(NamedTuple):
    """A change planted in the history, from a night on."""

    what: What
    task_type: str
    night: date
    size: str
    """The size in words."""
    tool: str | None = None


class Truth(NamedTuple):
    """The truth about a run, for the simulated judge."""

    fault: Fault | None
    """None for a good run."""
    quote: str
    """The beginning of its output."""


class History:
    """The runs of eight weeks, generated night by night. The same seed and last night give the same history."""

    def __init__(self, seed: int, last: date, *, scale: float = 1.0) -> None:
        """Decide what is planted and where; runs are made by `night`.

        Args:
            seed: Any number.
            last: The newest night.
            scale: Factor on the traffic, for tests.
        """
        self.seed, self.scale = seed, scale
        self.first = last - timedelta(days=NIGHTS - 1)
        self.nights = [self.first + timedelta(days=offset) for offset in range(NIGHTS)]
        self.truths: dict[str, Truth] = {}
        """By ticket, for the nights generated so far."""
        rng = random.Random(f"spotcheck demo {seed}")  # noqa: S311 made-up data
        self._planted = _plan(rng, self.nights)
        self._releases = _release(rng, self.nights, self._planted[QUALITY_DROP].night)
        self._ticket = 0

    @property
    def planted(self) -> list[Planted]:
        """The four changes, oldest first."""
        return sorted(self._planted.values(), key=lambda planted: planted.night)

    def night(self, night: date) -> Iterator[dict[str, Any]]:
        """The runs of a night in the order of their end, as documents of `spotcheck.run/1`."""
        offset = (night - self.first).days
        rng = random.Random(f"spotcheck demo {self.seed} {offset}")  # noqa: S311 made-up data
        self._ticket = 200_000 + 2_000 * offset + rng.randrange(300)
        runs: list[dict[str, Any]] = []
        for task_type, task in TASKS.items():
            for _ in range(self._volume(rng, night, task_type, task)):
                runs += self._runs(rng, night, task_type, task)
        return iter(sorted(runs, key=lambda run: str(run["ended_at"])))

    def holds(self, what: What, task_type: str, night: date) -> bool:
        """Whether a planted change affects a task type on a night."""
        planted = self._planted[what]
        return planted.task_type == task_type and night >= planted.night

    def _volume(self, rng: random.Random, night: date, task_type: str, task: Task) -> int:
        usual = self.scale * task.runs * _WEEKDAYS[night.weekday()]
        usual *= task.weekend if night.weekday() >= 5 else 1.0
        usual *= GROWTH if self.holds(MIX_SHIFT, task_type, night) else 1.0
        usual *= rng.lognormvariate(0.0, 0.07)
        return max(0, round(rng.gauss(usual, usual**0.5)))

    def _runs(self, rng: random.Random, night: date, task_type: str, task: Task) -> list[dict[str, Any]]:
        """The runs of one request: one, or after an error often a second attempt some minutes later."""
        self._ticket += 1
        ended = _some_time(rng, night, task.agent)
        draft, fault = self._draft(rng, night, task_type, task)
        factor = DEARER if self.holds(COST_RISE, task_type, night) else 1.0
        tokens = priced(draft, task.usage, factor)
        began = timed(draft, ended)
        self.truths[draft.ticket] = Truth(fault, (draft.answered or "")[:90])
        run: dict[str, Any] = {
            "run_id": f"run-{night:%m%d}-{rng.getrandbits(32):08x}",
            "source": "demo",
            "agent": task.agent,
            "agent_version": self._version(rng, night, task.agent),
            "task_type": task_type,
            "status": "completed",
            "session_id": f"s-{rng.getrandbits(28):07x}",
            "input": draft.asked,
            "output": draft.answered,
            "steps": draft.steps,
            "started_at": began.isoformat(timespec="milliseconds"),
            "ended_at": ended.isoformat(timespec="milliseconds"),
            "input_tokens": tokens.read,
            "output_tokens": tokens.wrote,
            "cost_usd": tokens.cost_usd,
        }
        status = rng.choices(("completed", "errored", "aborted", "incomplete"), (968, 12, 16, 4))[0]
        if status == "completed":
            return [run]
        cut = _cut(rng, run, status)
        again = ended + timedelta(seconds=rng.randrange(60, 400))
        if status != "errored" or rng.random() < 0.5 or again.date() != night:
            return [cut]
        times = {"started_at": (began + (again - ended)).isoformat(timespec="milliseconds")}
        return [cut, run | times | {"ended_at": again.isoformat(timespec="milliseconds")}]

    def _draft(self, rng: random.Random, night: date, task_type: str, task: Task) -> tuple[Draft, Fault | None]:
        """A run's content from the task type's scenario, and its fault, if any."""
        broken = self._planted[TOOL_FAILURE]
        outage = None
        if self.holds(TOOL_FAILURE, task_type, night):
            outage = Outage(broken.tool or "", FAILING, _TOOLS[task_type][1])
        is_shaky = rng.random() < _SHAKY
        draft = Draft(rng, f"FH-{self._ticket}", outage, retry=0.4 if is_shaky else 0.0)
        fault = None
        if rng.random() > task.quality - (_SHAKY_WORSE if is_shaky else 0.0):
            fault = rng.choices(task.faults, [candidate.weight for candidate in task.faults])[0]
        elif self.holds(QUALITY_DROP, task_type, night) and rng.random() < DROP / task.quality:
            fault = next(candidate for candidate in task.faults if candidate.name == _DROPS[task_type])
        task.scenario(draft, night, fault.name if fault else None)
        if rng.random() < _EMPTY:
            draft.answered = rng.choice(_OPENERS)
            fault = Fault("empty", "There is no answer, only the announcement of one.")
        return draft, fault

    def _version(self, rng: random.Random, night: date, agent: str) -> str:
        """The newest release; while it is a canary, usually the one before it."""
        version = ""
        for since, canary_nights, released in self._releases[agent]:
            if night >= since and (night >= since + timedelta(days=canary_nights) or rng.random() < _CANARY):
                version = released
        return version


def _cut(rng: random.Random, run: Mapping[str, Any], status: str) -> dict[str, Any]:
    """The run as if it had ended early: fewer steps, no output, part of the cost."""
    run_id = f"{run['run_id'][:9]}{rng.getrandbits(32):08x}"
    kept = [dict(step) for step in run["steps"][: rng.randrange(1, len(run["steps"]))]]
    if status == "errored":
        kept[-1]["error"] = reason = rng.choice(_ERRORS)
    else:
        reason = rng.choice(_STOPS) if status == "aborted" else "no final event received"
    share = len(kept) / len(run["steps"])
    less = {key: int(run[key] * share) for key in ("input_tokens", "output_tokens")}
    early = {"run_id": run_id, "status": status, "output": None, "steps": kept, "cost_usd": run["cost_usd"] * share}
    return dict(run) | early | less | {"error" if status == "errored" else "stop_reason": reason}


def _some_time(rng: random.Random, night: date, agent: str) -> datetime:
    """A random time of the day, following the agent's hourly traffic."""
    hour = rng.choices(range(24), _HOURS[agent])[0]
    began = datetime(night.year, night.month, night.day, hour, tzinfo=UTC)
    return began + timedelta(milliseconds=rng.randrange(3_600_000))


def _plan(rng: random.Random, nights: list[date]) -> dict[What, Planted]:
    """Which task type each change is planted in, and when; no task type gets two."""
    dropped = rng.choice(sorted(_DROPS))
    failing = rng.choice([task_type for task_type in sorted(_TOOLS) if task_type != dropped])
    grown = rng.choice(_HARD)
    dearer = rng.choice([task_type for task_type in TASKS if task_type not in (dropped, failing, *_HARD)])
    drop, shift, failure, rise = (rng.randrange(*days) for days in ((28, 31), (35, 38), (42, 45), (21, 27)))
    tool = _TOOLS[failing][0]
    return {
        QUALITY_DROP: Planted(QUALITY_DROP, dropped, nights[drop], "20 points off the judge's scores, silently"),
        MIX_SHIFT: Planted(
            MIX_SHIFT, grown, nights[shift], f"{GROWTH:g} times the runs of a hard task type, no worse than before"
        ),
        TOOL_FAILURE: Planted(TOOL_FAILURE, failing, nights[failure], f"{tool} fails in {FAILING:.0%} of calls", tool),
        COST_RISE: Planted(COST_RISE, dearer, nights[rise], f"{DEARER - 1:+.0%} tokens, and so dollars, a run"),
    }


class Release(NamedTuple):
    """A version of an agent, in use from a night on."""

    since: date
    canary_nights: int
    """Nights in which only few runs use it."""
    version: str


def _release(rng: random.Random, nights: list[date], dropped: date) -> dict[str, list[Release]]:
    """The releases of each agent; the one that quality falls with has no canary nights."""
    start = nights[0]
    return {
        "support-bot": [
            Release(start, 0, "3.1.4"),
            Release(nights[rng.randrange(8, 12)], 3, "3.2.0"),
            Release(nights[rng.randrange(17, 22)], 0, "3.2.1"),
            Release(dropped, 0, "3.3.0"),
        ],
        "scout": [Release(start, 0, "0.9.2"), Release(nights[rng.randrange(11, 18)], 4, "0.10.0")],
    }
