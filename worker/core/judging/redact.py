"""Removing secrets and personal data from a text before it is sent to a judge.

Keys, tokens, private keys, passwords in URLs, e-mail addresses and card numbers (checked by Luhn). Every value gets a
name that is the same in the whole document, `[email 1]`, so a judge still sees that two places hold the same address.
The patterns have no nested or adjacent overlapping repetition, so the time is linear in the text.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from worker.core.judging.injection import leaf_texts

REDACTION_VERSION = "1"
"""Part of a judge's fingerprint where it is not the first: other patterns show a judge another text. Raise it with
every change of what is replaced, or by what; `tests/scorers/test_rules_of_measuring.py` has each version's results."""
_KEY = (
    r"(?:sk|rk|pk)[-_](?:proj|live|test|ant|or|svcacct|lf|admin)[-_][A-Za-z0-9_-]{8,200}"
    r"|sk-[A-Za-z0-9]{16,200}|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{20,64}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,250}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,400}"
    r"|hf_[A-Za-z0-9]{20,100}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,250}|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"
    r"|eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{4,2000}"
)
_NAMED = (
    r"(?i:(?:api[_-]?key|access[_-]?key|secret[_-]?key|client[_-]?secret|auth[_-]?token|access[_-]?token|refresh[_-]?token"
    r"|password|passwd|x-api-key)[\\\"']{0,4}\s{0,3}[:=]\s{0,3}[\\\"']{0,4}"
    r"|authorization[\\\"']{0,4}\s{0,3}[:=]\s{0,3}[\\\"']{0,4}(?:bearer|basic)\s{1,3}"
    r"|\bbearer\s{1,3})"
)
_PATTERNS: tuple[tuple[str, tuple[str, ...], re.Pattern[str], int], ...] = (
    (
        "key",
        ("-----begin",),
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,20000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"),
        0,
    ),
    (
        "key",
        (
            "sk-",
            "k_",
            "k-",
            "gh",
            "glpat-",
            "xox",
            "akia",
            "asia",
            "aiza",
            "ya29",
            "hf_",
            "npm_",
            "pypi-",
            "sg.",
            "eyj",
        ),
        re.compile(rf"(?<![A-Za-z0-9_])(?:{_KEY})"),
        0,
    ),
    (
        "token",
        ("key", "token", "secret", "passw", "authorization", "bearer"),
        re.compile(rf"{_NAMED}([A-Za-z0-9_.~+/=$!@#%^&*-]{{8,400}})"),
        1,
    ),
    ("password", ("://",), re.compile(r"(?<=://)[^\s/@:]{1,100}:([^\s/@]{1,200})(?=@)"), 1),
    (
        "email",
        ("@",),
        re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"),
        0,
    ),
    ("card", (), re.compile(r"(?<![\d.-])[23456]\d{3}(?:[ -]?\d{2,6}){2,4}(?![\d.-]?\d)"), 0),
)
"""Kind, strings of which one must occur in lower case for a match (a fast check first), pattern, and its group."""
_POSSIBLE = re.compile("|".join(re.escape(hint) for _, hints, _, _ in _PATTERNS for hint in hints) + r"|[23456]\d{3}")
"""Something that every match contains; most texts have none of it."""
_CARD = re.compile(r"3[47]|4|5[1-5]|2[2-7]|6[05]")


class Redacted(NamedTuple):
    """A text without its secrets."""

    text: str
    counts: dict[str, int]
    """Replaced places by kind: key, token, password, email, card."""


def redact(text: str, names: dict[tuple[str, str], str] | None = None) -> Redacted:
    """Replace secrets and personal data by names such as `[email 1]`.

    Args:
        text: Any text.
        names: The names given so far in the same document, updated in place; None for a text by itself.

    Returns:
        The text and the counts by kind. Redacting twice changes nothing.

    Example:
        >>> redact("mail ann@example.org, card 4111 1111 1111 1111, cc ann@example.org")
        Redacted(text='mail [email 1], card [card 1], cc [email 1]', counts={'email': 2, 'card': 1})
    """
    given_names = {} if names is None else names
    counts: Counter[str] = Counter()
    lower = text.lower()
    if not _POSSIBLE.search(lower):
        return Redacted(text, {})
    for kind, hints, pattern, group in _PATTERNS:
        if hints and not any(hint in lower for hint in hints):
            continue

        def name(match: re.Match[str], kind: str = kind, group: int = group) -> str:
            value = match[group]
            if kind == "card" and not _is_card(value):
                return match[0]
            counts[kind] += 1
            if (kind, value) not in given_names:
                given_names[kind, value] = f"[{kind} {1 + sum(given == kind for given, _ in given_names)}]"
            start, end = (at - match.start() for at in match.span(group))
            return match[0][:start] + given_names[kind, value] + match[0][end:]

        text = pattern.sub(name, text)
    return Redacted(text, dict(counts))


def redact_document(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Redact every string of a JSON document with shared names; keys are not changed.

    Example:
        >>> redact_document({"input": "to a.b@c.de", "steps": [{"args": "a.b@c.de"}], "n": 1})
        ({'input': 'to [email 1]', 'steps': [{'args': '[email 1]'}], 'n': 1}, {'email': 2})
    """
    # one search over all strings joined by line feeds: no pattern matches across a line feed, so when it finds nothing
    # there, no single string has a match
    if not _may_hold("\n".join(leaf_texts(document))):
        return dict(document), {}
    names: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()

    def clean(value: object) -> object:
        if isinstance(value, str):
            redacted = redact(value, names)
            counts.update(redacted.counts)
            return redacted.text
        if isinstance(value, Mapping):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [clean(inner) for inner in value]
        return value

    return {key: clean(value) for key, value in document.items()}, dict(counts)


def _may_hold(text: str) -> bool:
    """Whether any pattern matches in a long text."""
    lower = text.lower()
    return any(
        (not hints or any(hint in lower for hint in hints)) and pattern.search(text) is not None
        for _, hints, pattern, _ in _PATTERNS
    )


def _is_card(text: str) -> bool:
    """Whether the digits have a card's length and issuer, and satisfy Luhn (ISO/IEC 7812-1, annex B)."""
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19 or not _CARD.match(text):
        return False
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return total % 10 == 0
