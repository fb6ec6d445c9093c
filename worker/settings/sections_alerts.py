"""Tables of spotcheck.toml: alerts, the store, metrics."""

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
)

from worker.settings.section import Section, Variable


def _listen(address: str | None) -> str | None:
    if address is not None and listen_address(address) is None:
        raise ValueError('not an address; write it like "127.0.0.1:9464"')
    return address


def listen_address(address: str) -> tuple[str, int] | None:
    """Host and port of an address to listen at; None where it is none.

    Example:
        >>> listen_address("127.0.0.1:9464"), listen_address("[::1]:9464"), listen_address(":9464")
        (('127.0.0.1', 9464), ('::1', 9464), None)
    """
    match = re.fullmatch(r"(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]{1,253})):(?P<port>[0-9]{1,5})", address)
    if match is None or not 0 < int(match["port"]) < 65_536:
        return None
    return match["ipv6"] or match["host"], int(match["port"])


class AlertsSection(Section):
    """How often chance may raise an alarm, and what is told at once."""

    false_alarms_per_year: float = Field(default=2.0, gt=0, le=365)
    """False drift findings a year that are accepted, for the whole project."""
    run_cost_usd: float | None = Field(default=None, ge=0)
    """The agent's cost of one run above which it is told at once, US dollars."""
    agent_daily_spend_usd: float | None = Field(default=None, ge=0)
    """The agents' spend in a day above which it is told, US dollars."""
    send: Literal["all", "now"] = "all"
    """Which alerts are sent to destinations: all, or only those told now; the weekly review's stay in the list."""


class StoreSection(Section):
    """How long things are kept."""

    traces_days: int = Field(default=30, ge=1)
    """Days a run's texts and steps are kept after they were received, never pruned while undecided; a judge's prompt
    and answer after their score."""


class MetricsSection(Section):
    """Figures for a monitoring system."""

    listen: Annotated[str | None, AfterValidator(_listen), Variable("SPOTCHECK_METRICS")] = None
    """Where the process of the control queue answers `GET /metrics` as Prometheus has it, `HOST:PORT`; nowhere by
    default. Env: SPOTCHECK_METRICS."""
