"""What a judge's server was found to support, kept in the store, so that no other process need find it out again."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker.errors import StoreError
from worker.judge.capabilities import CapabilityPlan
from worker.project.project import Project
from worker.store import meta

log = logging.getLogger("spotcheck")
VALID_DAYS = 7
"""Servers are updated, and may support more afterwards. That one supports less shows at once: it refuses."""
_KEY = "judge_plan"


def load_plans(project: Project, now: datetime, connection: Connection | None = None) -> dict[str, CapabilityPlan]:
    """Plans by `plan_key` for the server that is configured; none that is older than a week.

    Args:
        project: Whose server.
        now: By the store's clock.
        connection: Of a read transaction; None opens one.
    """
    with nullcontext(connection) if connection is not None else project.store.read() as reading:
        text = meta.get_meta(reading, _key(project))
    plans = {}
    for key, fields in _read(text).items():
        try:
            if now - datetime.fromisoformat(fields["at"]) < timedelta(days=VALID_DAYS):
                plans[key] = CapabilityPlan.loaded(fields)
        except (KeyError, TypeError, ValueError):
            continue  # written by another version
    return plans


def plan_writer(project: Project) -> Callable[[str, CapabilityPlan], None]:
    """Stores a plan under its `plan_key`. Where the store does not answer, others make a few requests more."""

    def write(key: str, plan: CapabilityPlan) -> None:
        try:
            with project.store.write() as connection:
                now = project.store.now(connection)
                plans = dict(_read(meta.get_meta(connection, _key(project))))
                plans[key] = {**plan.dumped(), "at": now.isoformat()}
                meta.set_meta(connection, _key(project), json.dumps(plans))
        except StoreError as error:
            log.warning("what %s supports was not noted: %s", key, error)

    return write


def server_of(project: Project) -> str:
    """A name for the judge's address, 16 hex digits: the address itself may hold what belongs in no database."""
    address = project.settings.judge.base_url or ""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def _key(project: Project) -> str:
    return f"{_KEY}:{server_of(project)}"


def _read(text: str | None) -> Mapping[str, dict[str, str]]:
    try:
        plans = json.loads(text or "{}")
    except ValueError:
        return {}
    return plans if isinstance(plans, dict) else {}
