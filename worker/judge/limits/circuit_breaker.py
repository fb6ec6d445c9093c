"""A circuit breaker: whoever does not answer is left alone for a while, and then tried with one call.

    closed ── open() ──▶ open ── rest is over ──▶ half-open ── succeeded() ──▶ closed
                          ▲                           │
                          └────────── open() ─────────┘

Each opening in a row rests twice as long as the one before. Knows nothing of what is called, and lives in one process;
the breaker of a destination of alerts is shared by all deliverers, so it is a row (`store.results.destinations`).

Source: Nygard, "Release It!", 2nd edition, "Circuit Breaker".
"""

import time
from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """The state of one destination, in one process. Waits for nothing and calls nothing.

    Example:
        >>> now = [0.0]
        >>> breaker = CircuitBreaker(rest_s=5, max_rest_s=60, clock=lambda: now[0])
        >>> breaker.open(), breaker.state
        (5.0, 'open')
        >>> now[0] = 5.0
        >>> breaker.state, breaker.probe(in_flight=0), breaker.probe(in_flight=1)
        ('half-open', True, False)
        >>> breaker.succeeded()
        >>> breaker.state
        'closed'
    """

    def __init__(self, *, rest_s: float, max_rest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin closed.

        Args:
            rest_s: Seconds that the first opening lasts; each one after it twice as long.
            max_rest_s: Seconds that no opening exceeds.
            clock: Seconds of a clock that never goes back.
        """
        self.until = 0.0
        """The moment of the clock at which the last opening ends."""
        self._rest_s, self._max_rest_s, self._clock = rest_s, max_rest_s, clock
        self._openings = 0
        """Openings since the last success."""
        self._has_failed = False
        """Whether there was an opening since the last success."""

    @property
    def state(self) -> BreakerState:
        """Closed, open, or half-open: the rest is over, and nobody has succeeded since."""
        if not self._has_failed:
            return "closed"
        return "open" if self._clock() < self.until else "half-open"

    @property
    def is_open(self) -> bool:
        """Whether nothing may start now."""
        return self.state == "open"

    @property
    def left_s(self) -> float:
        """Seconds until the opening ends; 0 when none lasts."""
        return max(0.0, self.until - self._clock()) if self._has_failed else 0.0

    def probe(self, in_flight: int) -> bool:
        """Whether the one trial call of a half-open breaker may start.

        Args:
            in_flight: Calls under way to the destination.
        """
        return self.state == "half-open" and in_flight == 0

    def open(self) -> float:
        """The destination answers nobody. Opening what is open already changes nothing.

        Returns:
            Seconds until a trial call may start.
        """
        if not self.is_open:
            rest_s = min(self._max_rest_s, self._rest_s * 2**self._openings)
            self._openings += 1
            self._has_failed, self.until = True, self._clock() + rest_s
        return self.left_s

    def force_open(self) -> None:
        """The destination refuses us altogether: the shortest rest, and the next opening is no longer for it."""
        self._has_failed, self.until = True, max(self.until, self._clock() + self._rest_s)

    def succeeded(self) -> None:
        """A call was answered: closed."""
        self._has_failed, self._openings, self.until = False, 0, 0.0
