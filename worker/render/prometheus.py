"""Figures as Prometheus reads them: the text format, version 0.0.4.

Written here and not by `prometheus-client`: its registries count inside one process, and what is told here is read from
the database, so nothing of it but the forty lines below would be used. Its parser checks them in the tests.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABEL_CHARS = 120
"""A longer label value is cut, and ends with a hash of the whole, so that two stay two."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CONTROLS = {code: 0x2400 + code for code in range(32)}
_CONTROLS |= dict.fromkeys((*range(0x7F, 0xA0), 0x2028, 0x2029), 0xFFFD)
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family(NamedTuple):
    """One metric with all its series."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: list[tuple[Mapping[str, str], float]]
    """Labels and value of each; one whose labels are there already is left out."""


def render(families: Iterable[Family]) -> bytes:
    r"""The text. A family without samples is left out.

    Example:
        >>> jobs = Family("jobs", "gauge", "Open jobs.", [({"lane": 'a"b'}, 2)])
        >>> render([jobs]).decode().splitlines()
        ['# HELP jobs Open jobs.', '# TYPE jobs gauge', 'jobs{lane="a\\"b"} 2']
    """
    lines: list[str] = []
    for family in families:
        assert _NAME.fullmatch(family.name), family
        assert (family.kind == "counter") == family.name.endswith("_total"), family
        if not family.samples:
            continue
        lines += [f"# HELP {family.name} {_help(family.help)}", f"# TYPE {family.name} {family.kind}"]
        series = {_labels(labels): value for labels, value in reversed(family.samples)}
        lines += [f"{family.name}{labels} {_number(series[labels])}" for labels in reversed(series)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    assert all(_NAME.fullmatch(name) for name in labels), labels
    return "{" + ",".join(f'{name}="{_value(value)}"' for name, value in labels.items()) + "}"


def _value(text: str) -> str:
    """Whatever a name holds: one line of it, and not too long."""
    text = text.encode("utf-8", "replace").decode()  # lone surrogates have no place in UTF-8
    if len(text) > LABEL_CHARS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        text = f"{text[: LABEL_CHARS - 10]}… {digest}"
    return text.translate(_CONTROLS).translate(_ESCAPED)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(value) if isinstance(value, int) else repr(float(value))
