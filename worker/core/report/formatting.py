"""Formats of numbers in reports: percent, dollars, days, counts, intervals, p values."""

import math
from datetime import date
from typing import Literal

Unit = Literal["share", "usd", "count"]


class OutsideName(str):
    """A name from outside within a sentence, which each output format must escape in its own way."""

    __slots__ = ()


def percent(share: float, *, digits: int | None = None) -> str:
    """A share 0..1 in percent; near 0 and 100 with a further digit, so that 0.4 % is not shown as 0 %.

    Example:
        >>> percent(0.724), percent(0.031), percent(0.004), percent(0.0), percent(1.0), percent(0.9996)
        ('72 %', '3.1 %', '0.4 %', '0 %', '100 %', '99.96 %')
    """
    hundredths = 100 * share
    if digits is None:
        rest = min(hundredths, 100 - hundredths)
        digits = 0 if rest >= 9.95 or rest <= 0 else 1 if rest >= 0.095 else 2
    text = f"{hundredths:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def dollars(usd: float) -> str:
    """US dollars with two significant digits below $1, cents up to $1,000, whole dollars above.

    Example:
        >>> [dollars(usd) for usd in (0.0, 0.000914, 0.0214, 0.34, 1.836, 41.5, 1204.4)]
        ['$0', '$0.00091', '$0.021', '$0.34', '$1.84', '$41.50', '$1,204']
    """
    if usd == 0:
        return "$0"
    if usd >= 1000:
        return f"${usd:,.0f}"
    if usd >= 0.995:
        return f"${usd:.2f}"
    return f"${usd:.{min(6, 1 - math.floor(math.log10(usd)))}f}"


def amount(value: float, unit: Unit) -> str:
    """A figure in its unit.

    Example:
        >>> amount(0.72, "share"), amount(0.034, "usd"), amount(6.28, "count")
        ('72 %', '$0.034', '6.3')
    """
    if unit == "usd":
        return dollars(value)
    return percent(value) if unit == "share" else f"{value:.1f}"


def from_to(before: float, after: float, unit: Unit) -> tuple[str, str]:
    """Two figures with enough digits that they differ.

    Example:
        >>> from_to(0.912, 0.721, "share"), from_to(0.9741, 0.9738, "share"), from_to(0.021, 0.0344, "usd")
        (('91 %', '72 %'), ('97.41 %', '97.38 %'), ('$0.021', '$0.034'))
    """
    first, second = amount(before, unit), amount(after, unit)
    if unit == "share":
        for more in range(4):
            first, second = (percent(share, digits=more + (share < 0.1)) for share in (before, after))
            if first != second:
                break
    return first, second


def interval_text(low: float, high: float, unit: Unit) -> str:
    """An interval in brackets, as shown after a figure.

    Example:
        >>> interval_text(0.714, 0.787, "share"), interval_text(0.0158, 0.0171, "usd")
        ('[71–79 %]', '[$0.016–$0.017]')
    """
    first, last = from_to(low, high, unit)
    return f"[{first.removesuffix(' %') if unit == 'share' else first}–{last}]"


def day(night: date, *, year: bool = False) -> str:
    """A date with its weekday.

    Example:
        >>> day(date(2026, 11, 10)), day(date(2026, 11, 10), year=True)
        ('Tue 10 Nov', 'Tue 10 Nov 2026')
    """
    text = f"{night:%a} {night.day} {night:%b}"
    return f"{text} {night.year}" if year else text


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "night"), counted(1_200, "run")
        ('1 night', '1,200 runs')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def p_value(p: float) -> str:
    """A p value with two to four digits.

    Example:
        >>> p_value(0.00001), p_value(0.00041), p_value(0.034), p_value(1.0)
        ('< 0.0001', '0.0004', '0.034', '1.00')
    """
    if p < 0.0001:
        return "< 0.0001"
    return f"{p:.4f}" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
