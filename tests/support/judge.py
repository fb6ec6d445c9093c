"""Judges whose answers a test decides."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from worker.demo.judge.server import Answer, simulated_verdict


class HeldJudge:
    """Answers when it is let; counts who waits."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = 0

    async def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.waiting += 1
        try:
            while not self.open.is_set():
                await asyncio.sleep(0.02)
        finally:
            self.waiting -= 1
        return simulated_verdict(request, lambda prompt: 1.0)
