"""Redaction: what leaves for a judge holds no keys, addresses or cards, and nothing else is touched."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.judging.redact import redact, redact_document

KEYS = [
    "sk-proj-AbCdEfGhIjKlMnOpQrSt",
    "sk-abcdefghijklmnopqrstuvwx",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "AKIAABCDEFGHIJKLMNOP",
    "xoxb-1234567890-abcdefghij",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("key", KEYS)
def test_keys_go(key: str) -> None:
    assert redact(f"use {key} now").text == "use [key 1] now"


def test_named_tokens_and_passwords_in_addresses_go() -> None:
    assert redact('{"api_key": "abcdef123456"}').text == '{"api_key": "[token 1]"}'
    assert redact("Authorization: Bearer abc.def-123456").text == "Authorization: Bearer [token 1]"
    assert redact("postgresql://bob:hunter2@db/x").text == "postgresql://bob:[password 1]@db/x"


def test_cards_are_checked_by_luhn() -> None:
    assert redact("4111 1111 1111 1111").text == "[card 1]"
    assert redact("5500-0000-0000-0004").text == "[card 1]"
    assert redact("4111 1111 1111 1112").text == "4111 1111 1111 1112"
    assert redact("order 1234567890123456").counts == {}


def test_one_value_has_one_name_over_a_document() -> None:
    document, counts = redact_document(
        {"input": "a@b.org", "steps": [{"args": "c@d.org"}, {"args": "a@b.org"}], "n": 3}
    )
    assert document == {"input": "[email 1]", "steps": [{"args": "[email 2]"}, {"args": "[email 1]"}], "n": 3}
    assert counts == {"email": 3}


def test_ordinary_text_stays() -> None:
    text = (
        "Refund of 40.00 EUR for order 2026-11-02-0001 at 14:02, see https://example.org/a?b=c#d, v1.2.3, +49 30 123456"
    )
    assert redact(text) == (text, {})


@given(st.text(max_size=300))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redact(text).text
    assert redact(once).text == once


@pytest.mark.parametrize(
    "piece", ["a@", "a.a@a.", "4111 ", "1", "-", "sk-", "eyJa.", "-----BEGIN PRIVATE KEY-----", "://a:", "token:", "="]
)
def test_the_time_is_linear(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    started = time.process_time()
    redact(text)
    assert time.process_time() - started < 5


def test_a_secret_that_fills_a_text_is_found_whatever_stands_in_the_texts_around_it() -> None:
    for secret in ("4111 1111 1111 1111", "ann@example.org", "sk-proj-0123456789abcdefABCDEF0123456789"):
        shown, counts = redact_document({"input": "x1", "output": secret, "error": "2.y", "steps": [{"args": secret}]})
        assert secret not in str(shown), secret
        assert sum(counts.values()) == 2
