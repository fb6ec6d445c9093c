"""What a judge's server was found to support, kept in the store: another process need not try again."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from worker.errors import StoreError
from worker.judge.capabilities import CapabilityPlan
from worker.project.project import Project
from worker.store import meta

log = logging.getLogger("spotcheck")
VALID_DAYS = 7
"""Servers are updated, and may know more afterwards; what one refuses is found out at once anyway."""
_KEY = "judge_plan"


def remembered(project: Project, now: datetime) -> dict[str, CapabilityPlan]:
    """Plans by model for the server that is configured; none that is older than a week."""
    with project.store.read() as connection:
        said = meta.get_meta(connection, _key(project))
    found = {}
    for model, each in _read(said).items():
        try:
            if now - datetime.fromisoformat(each["at"]) < timedelta(days=VALID_DAYS):
                found[model] = CapabilityPlan.loaded(each)
        except (KeyError, TypeError, ValueError):
            continue  # of another version
    return found


def remembering(project: Project) -> Callable[[str, CapabilityPlan], None]:
    """Notes plans as they are found; a store that does not take one costs only a few requests later."""

    def note(model: str, plan: CapabilityPlan) -> None:
        try:
            with project.store.write() as connection:
                now = project.store.now(connection)
                known = dict(_read(meta.get_meta(connection, _key(project))))
                known[model] = {**plan.dumped(), "at": now.isoformat()}
                meta.set_meta(connection, _key(project), json.dumps(known))
        except StoreError as error:
            log.warning("what %s supports was not noted: %s", model, error)

    return note


def _key(project: Project) -> str:
    """By server; its address may hold what belongs in no database."""
    return f"{_KEY}:{server_of(project)}"


def server_of(project: Project) -> str:
    """A name for the judge's address that tells nothing of it; 16 hex digits."""
    address = project.settings.judge.base_url or ""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def _read(said: str | None) -> Mapping[str, dict[str, str]]:
    try:
        found = json.loads(said or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
