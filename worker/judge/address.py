"""A judge's address and key: as they may be used, and as they may be shown."""

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import SecretStr

from worker.errors import SettingsError
from worker.judge.failures import one_line

SHOWN_LIMIT = 300
_SECRET_SHAPED = re.compile(r"\b(sk|pk|rk|key|gsk|xai)[-_][\w*.-]{6,}|(?i:bearer)\s+\S+")


def usable_key(api_key: SecretStr | None) -> str:
    """A key as it goes into a header; empty without one.

    Raises:
        SettingsError: It holds characters that cannot stand there.
    """
    key = api_key.get_secret_value().strip() if api_key is not None else ""
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise SettingsError("the judge's key holds characters that cannot stand in a header; check OPENAI_API_KEY")
    return key


def shown_url(base_url: str | None) -> str:
    """The address as messages show it: without the query, where some servers want a key.

    Raises:
        SettingsError: It is no http(s) URL, or carries a password.
    """
    if base_url is None:
        return "the default address"
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("the judge's address is not an http or https URL; check OPENAI_BASE_URL")
    if parts.username is not None or parts.password is not None:
        raise SettingsError("the judge's address holds a user or password; put the key into OPENAI_API_KEY instead")
    return one_line(f"{parts.scheme}://{parts.netloc}{parts.path}")


def split_query(base_url: str | None) -> tuple[str | None, dict[str, object]]:
    """An address without its query, and the query, which the SDK wants apart: Azure's `api-version` stands there.

    Example:
        >>> split_query("https://h/openai/v1?api-version=preview")
        ('https://h/openai/v1', {'api-version': 'preview'})
    """
    if base_url is None:
        return None, {}
    url = urlsplit(base_url)
    return urlunsplit(url._replace(query="", fragment="")), dict(parse_qsl(url.query, keep_blank_values=True))


def scrubbed(text: str, key: str) -> str:
    """What may be shown of a server's words: one line, short, without the key or anything that looks like one."""
    line = one_line(text)
    if key:
        line = line.replace(key, "[key]")
    return _SECRET_SHAPED.sub("[key]", line)[:SHOWN_LIMIT]
