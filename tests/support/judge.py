"""Judges whose answers a test decides."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from worker.demo.judge.server import Answer, simulated_verdict


class PacedJudge:
    """Answers so many calls, each after a while, and holds the others back until it is let."""

    def __init__(self, answers: int, latency_s: float) -> None:
        self.open = threading.Event()
        self._left, self._latency_s = answers, latency_s

    async def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self._left -= 1
        is_held = self._left < 0
        await asyncio.sleep(self._latency_s)  # the latency that was asked for
        while is_held and not self.open.is_set():
            await asyncio.sleep(0.02)  # held until the test lets it answer
        return simulated_verdict(request, lambda prompt: 0.8)


class HeldJudge:
    """Answers when it is let; counts who waits."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = 0

    async def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.waiting += 1
        try:
            while not self.open.is_set():
                await asyncio.sleep(0.02)  # held until the test lets it answer
        finally:
            self.waiting -= 1
        return simulated_verdict(request, lambda prompt: 1.0)


class PatientJudge(HeldJudge):
    """Answers each call after a while, and counts what it has answered: each of them is paid."""

    def __init__(self, latency_s: float) -> None:
        super().__init__()
        self.answered = 0
        self._latency_s = latency_s

    async def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        await asyncio.sleep(self._latency_s)  # the latency that was asked for
        self.answered += 1
        return simulated_verdict(request, lambda prompt: 0.8)
