"""Whether a judge answers: the one place that says closed, open or half-open for a model on a server.

Everybody who must know asks here: the queue before it starts a call, the retries in the process, the turn of a worker
before it claims jobs, the report of what the process sees, and the command that waits for scores. One object stands
for one model on one server in one process; `CallQueue` owns it and tells it how each request ended. Where each level of
trying again stands is drawn in `judge.retrying`.
"""

import time
from collections.abc import Callable, Sequence

from worker.judge.limits.circuit_breaker import BreakerState, CircuitBreaker

REST_S, MAX_REST_S = 5.0, 60.0
"""Seconds that a judge is left alone: 5, 10, 20, 40, 60 when it still answers nobody."""
MIN_UNANSWERED = 8
"""More requests than this, and than may be under way at once, without one answer between them: no coincidence."""
MAX_POISON = 2
"""So many unanswered jobs alone may be their own fault: a run that no server survives."""


class JudgeHealth:
    """What is known of one model on one server."""

    def __init__(self, max_in_flight: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a judge that answers.

        Args:
            max_in_flight: Calls that may be under way at once.
            clock: Seconds of a clock that never goes back.
        """
        self.trouble: str | None = None
        """Why it was opened last, for people to read; None since it answered."""
        self._breaker = CircuitBreaker(rest_s=REST_S, max_rest_s=MAX_REST_S, clock=clock)
        self._clock = clock
        self._too_many = max(MIN_UNANSWERED, max_in_flight)
        self._unanswered = 0
        """Requests in a row that ended without an answer."""
        self._asked_since: float | None = None
        """When the first request began that was not followed by an answer."""
        self._granted_s = 0.0
        """The longest rest that it asked for, or was given, since it answered."""

    @property
    def state(self) -> BreakerState:
        """Whether it may be asked: closed freely, open not at all, half-open by one call."""
        return self._breaker.state

    @property
    def left_alone_s(self) -> float:
        """Seconds until it may be asked again; 0 when it may be asked now."""
        return self._breaker.left_s

    @property
    def is_silent(self) -> bool:
        """Whether so many requests in a row got no answer that the next one would get none either."""
        return self._unanswered > self._too_many

    def silent_s(self) -> float | None:
        """Seconds without one answer beyond the rest that it was granted; None while it is not known to be down."""
        if self._breaker.state == "closed" or self._asked_since is None:
            return None
        return self._clock() - self._asked_since - self._granted_s

    def probe(self, in_flight: int) -> bool:
        """Whether the one trial call of a half-open judge may start, with so many calls under way."""
        return self._breaker.probe(in_flight)

    def is_down(self, unanswered: Sequence[bool], *, is_idle: bool) -> bool:
        """Whether calls went unanswered because the judge answers nobody, and not because of their own runs.

        Args:
            unanswered: Of each job whose call got no answer, since another one got one: whether no other call would
                have fared better (a refused connection, a 429).
            is_idle: Whether nothing else is under way that might still be answered.
        """
        if not unanswered:
            return False
        if self._breaker.state != "closed" or len(unanswered) > self._too_many:
            return True
        return is_idle and (len(unanswered) > MAX_POISON or all(unanswered))

    def begins(self) -> None:
        """A request begins."""
        if self._asked_since is None:
            self._asked_since = self._clock()

    def answered(self) -> None:
        """A request was answered: closed."""
        self._breaker.succeeded()
        self.trouble, self._unanswered, self._asked_since, self._granted_s = None, 0, None, 0.0

    def unanswered(self) -> None:
        """A request ended without an answer, refused or failed."""
        self._unanswered += 1

    def open(self, trouble: str, wait_s: float = 0.0) -> float:
        """The judge answers nobody.

        Args:
            trouble: What that looks like, for people to read.
            wait_s: Seconds that it asked to be left alone; a minute at most counts.

        Returns:
            Seconds, a minute at most, until jobs should be tried again.
        """
        self.trouble = trouble
        rest_s = min(MAX_REST_S, max(self._breaker.open(), wait_s))
        self._granted_s = max(self._granted_s, rest_s)
        return rest_s

    def force_open(self, trouble: str) -> None:
        """The judge refuses us: the key, the model, the account. Five seconds' rest, then one call."""
        self.trouble = trouble
        self._breaker.force_open()
