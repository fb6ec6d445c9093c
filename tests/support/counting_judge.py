"""A judge that counts what it is asked about each run by each version of a rubric, and rings at a chosen request."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from worker.demo.judge.server import Answer, simulated_verdict

Question = tuple[str, str]
"""The run that a judge is asked about, and the version of the rubric."""
Bell = tuple[int, Callable[[], None]]
LATENCY_S = 0.02
_CASE, _EDITION = re.compile(r"case-[0-9-]+"), re.compile(r"edition (\d+\.\d+\.\d+)")
ASKED = "Judge the result, not the effort:"
"""Stands once in the shipped rubric; the edition is said before it."""


def changes(version: str) -> dict[str, str]:
    """How the shipped rubric reads in a version of a story, for `rubrics.changed`: every prompt says which it is."""
    return {"version: 1.0.0": f"version: {version}", ASKED: f"This is edition {version}. {ASKED}"}


def question(prompt: str) -> Question:
    """What a prompt asks; exactly one run and one version."""
    (edition,) = set(_EDITION.findall(prompt))
    return _CASE.findall(prompt)[0], edition


class CountingJudge:
    """Answers after a moment."""

    def __init__(self) -> None:
        self.asked: Counter[Question] = Counter()
        self._bells: list[Bell] = []
        self._ringing = threading.Lock()

    async def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        asked = question("\n".join(message["content"] for message in request["messages"]))
        with self._ringing:
            self.asked[asked] += 1
            for bell in [bell for bell in self._bells if bell[0] <= self.asked.total()]:
                self._bells.remove(bell)
                bell[1]()
        await asyncio.sleep(LATENCY_S)  # so that calls overlap
        return simulated_verdict(request, lambda _: 0.8)

    def at_request(self, number: int, do: Callable[[], None]) -> Bell:
        """Do something when so many more requests have come, before that one is answered; in the judge's thread."""
        with self._ringing:
            bell = (self.asked.total() + number, do)
            self._bells.append(bell)
        return bell

    def forget(self, bells: list[Bell]) -> None:
        """Those that have not rung ring no more."""
        with self._ringing:
            self._bells = [bell for bell in self._bells if bell not in bells]
