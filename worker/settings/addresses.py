"""Addresses and secrets: of the store, the broker, the judge's key, and of every destination of alerts.

Each is one field. A destination is registered here: `sink="NAME"` in its variable says that the module
`worker/connectors/sinks/NAME.py` delivers to it once the variable is set.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from worker.settings.section import Section, Variable

_BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp", "sqs", "filesystem", "memory")
"""Celery's transports that a message of a few bytes may go through."""


def _broker(url: SecretStr) -> SecretStr:
    scheme, _, rest = url.get_secret_value().partition("://")
    if scheme not in _BROKERS or (scheme == "filesystem" and not rest):
        raise ValueError("not a broker; write redis://HOST:6379/0, filesystem://FOLDER or memory://")
    return url


def _database(url: SecretStr) -> SecretStr:
    if re.fullmatch(r"sqlite(\+\w+)?:(//)?(/(:memory:)?)?", url.get_secret_value()):
        raise ValueError("a database in memory would be gone after each command; write sqlite:///FILE")
    return url


class Addresses(Section):
    """Where everything outside the program is, and the keys to it."""

    database_url: Annotated[SecretStr, AfterValidator(_database), Variable("SPOTCHECK_DATABASE_URL", "address")] = (
        SecretStr("sqlite:///spotcheck.db")
    )
    """The store: `sqlite:///FILE` or `postgresql://…`. Env: SPOTCHECK_DATABASE_URL."""
    broker_url: Annotated[
        Annotated[SecretStr, AfterValidator(_broker)] | None, Variable("SPOTCHECK_BROKER_URL", "address")
    ] = None
    """Celery's broker: `redis://…`, `filesystem://FOLDER`, `memory://`; a folder beside the database when not given.
    Env: SPOTCHECK_BROKER_URL."""
    prompts: Annotated[str | None, Variable("SPOTCHECK_PROMPTS")] = None
    """Folder of your rubrics, laid over the shipped ones; `./prompts` when it exists. Env: SPOTCHECK_PROMPTS."""
    webhook_url: Annotated[SecretStr | None, Variable("SPOTCHECK_WEBHOOK_URL", "secret", sink="webhook")] = None
    """Where alerts are sent, signed, as JSON; its path may be a secret. Env: SPOTCHECK_WEBHOOK_URL."""
    webhook_secret: Annotated[SecretStr | None, Variable("SPOTCHECK_WEBHOOK_SECRET", "secret")] = None
    """Signs what is sent, as Standard Webhooks has it. Env: SPOTCHECK_WEBHOOK_SECRET."""
    slack_url: Annotated[SecretStr | None, Variable("SPOTCHECK_SLACK_URL", "secret", sink="slack")] = None
    """A Slack channel's incoming webhook, which gets each alert as a line. Env: SPOTCHECK_SLACK_URL."""
    openai_api_key: Annotated[SecretStr | None, Variable("OPENAI_API_KEY", "secret")] = None
    """The judge's key. Env: OPENAI_API_KEY only, never a file."""
