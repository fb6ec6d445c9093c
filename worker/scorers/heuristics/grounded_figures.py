"""Whether the figures in the answer come from somewhere."""

import re
from collections.abc import Iterable, Iterator
from decimal import Context as Arithmetic
from decimal import Decimal
from typing import NamedTuple

from worker.records import Outcome, Run, Step, scored, unscored
from worker.scorers.heuristics.heuristic import Heuristic, excerpt
from worker.scorers.protocol import Context

_SMALL = 10
"""Whole numbers up to this are ignored: they count, number and enumerate."""
_ID_MIN = 4
"""Characters from which on letters mixed with digits are an id."""
_ID_MAX = 200
"""A longer token is a blob, not a figure."""
_NUMBER_MAX = 40
_ROUNDINGS = tuple(Decimal(1).scaleb(-places) for places in range(5))
"""Places to which a source's number may be rounded in the answer."""
_EXACT = Arithmetic(prec=2 * _NUMBER_MAX + 10)
"""Wide enough for every number read here; the default of 28 digits makes rounding a long one an error."""
_PERSON = ("user", "human", "customer")
"""An `other` step with one of these in its name is what a person said later in the conversation."""

_CUT = re.compile(r"(?:\.\.|…|\[|\(|<)\s?\[?truncated\b", re.IGNORECASE)
"""What agents and tracers write where they cut a result themselves; looked for at its end."""
_CUT_WITHIN = 100

_MONTHS = {
    "jan": 1, "january": 1, "feb": 2, "february": 2, "mar": 3, "march": 3, "apr": 4, "april": 4, "may": 5,
    "jun": 6, "june": 6, "jul": 7, "july": 7, "aug": 8, "august": 8, "sep": 9, "sept": 9, "september": 9,
    "oct": 10, "october": 10, "nov": 11, "november": 11, "dec": 12, "december": 12,
}  # fmt: skip
_MONTH = rf"(?:{'|'.join(sorted(_MONTHS, key=len, reverse=True))})"

_LISTED = re.compile(r"^[ \t]{0,20}(?:[*#>-]{1,6}[ \t]{1,4})?\d{1,3}[.)](?=[ \t]{1,4}\S)", re.MULTILINE)
"""The number of a list item."""

_ESCAPED = re.compile(r"\\(?:[nrt]|u[0-9a-fA-F]{4})")
"""Escapes of JSON inside JSON, whose letters would stick to the figure after them."""

_TOKEN = re.compile(
    rf"""(?<![^\W_])(?=[^\W_])(?:
      (?P<y>\d{{4}}) (?P<sep>[-/.]) (?P<m>\d{{1,2}}) (?P=sep) (?P<d>\d{{1,2}}) (?!\d)
      (?: T(?P<clock>\d\d:\d\d)[\d:.]*+ )?
    | (?P<a>\d{{1,2}}) (?P<sep2>[-/.]) (?P<b>\d{{1,2}}) (?P=sep2) (?P<y2>\d{{4}}) (?!\d)
    | (?P<mon>{_MONTH})\b\.? \s{{0,2}} (?P<d2>\d{{1,2}}) (?:st|nd|rd|th)?\b (?: ,?\s{{1,2}} (?P<y3>\d{{4}})\b )?
    | (?P<d3>\d{{1,2}}) (?:st|nd|rd|th)?\.? \s{{1,2}} (?:of\s)? (?P<mon2>{_MONTH})\b\.?
      (?: ,?\s{{1,2}} (?P<y4>\d{{4}})\b )?
    | (?P<h>\d{{1,2}}) : (?P<min>\d{{2}}) (?::\d{{2}})? (?![\d:]) (?: \s? (?P<half>[ap])\.?m\b )?
    | (?P<h2>\d{{1,2}}) \s? (?P<half2>[ap])\.?m\b
    | (?P<word>[^\W_]++(?:[-_.,'’\u00a0\u202f][^\W_]++)*+) (?P<percent>\s?(?:%|percent\b))?
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Dates, clock times, and words with what joins their parts; every repetition is bounded or possessive."""

_PLAIN = re.compile(r"\d+(?:\.\d+)?")
_GROUPED = re.compile(r"\d{1,3}(?:[,'’\u00a0\u202f]\d{3})+(?:\.\d+)?")
_CONTINENTAL = re.compile(r"\d{1,3}(?:\.\d{3})*,\d+|\d{1,3}(?:\.\d{3})+")
_POWER = re.compile(r"\d+(?:\.\d+)?e-?\d{1,3}", re.IGNORECASE)
_UNIT = re.compile(r"(?P<number>\d[\d.,]*)-?(?P<unit>[^\W\d_]+)")
_JOINED = re.compile(r"[-_.]")
_APART = re.compile(r"[,'’\u00a0\u202f]")


class NumberInText(NamedTuple):
    """One figure of a text; a claim is grounded when one of its forms is among what the sources vouch for."""

    text: str
    forms: frozenset[str]
    """Every normal form it may be meant in."""
    vouches: frozenset[str]
    """What it grounds: its forms, its parts, its roundings."""


class GroundedFigures(Heuristic):
    """The share of the answer's figures that occur in the input or in what a tool returned; unscored without figures.

    A figure is a number (`1,234.50` is `1234.5`; a currency sign or a unit is dropped; `45 %` is also `0.45`), an id of
    letters and digits (`ORD-1234`), a date (`May 20, 2024` is `2024-05-20`; without a year it matches any) or a clock
    time (`7:00 PM` is `19:00`). A source's number may be rounded in the answer. Each counts once; whole numbers up to
    10 and the numbers of lists do not count. Sources are the input, tool results and errors, and what a person said
    later in the conversation (an `other` step named `user`, `human` or `customer`); not tool arguments nor anything
    else the model wrote, since a figure does not become true by being sent to a tool. A run with a source that was
    cut, at the intake or before, is unscored.

    Cannot see: whether a figure stands in its right place. Counts as made up what was rightly worked out (a sum, a
    difference, a solved equation), what stood in the system prompt, what is common knowledge, and numbers written as
    words. On answers that are code, or the result of a calculation done in the model's head, it is noise: over real
    runs it hardly goes with the truth, and against it where good answers are worked out. Read it per task type.
    """

    name = "grounded_figures"
    version = "1"

    def evaluate(self, run: Run, context: Context) -> Outcome:
        """Look the answer's figures up in the sources."""
        if run.content != "full" and (run.output is None or run.input is None):
            return unscored("missing:run.output" if run.output is None else "missing:run.input")
        claimed = distinct(figures(_LISTED.sub(" ", run.output or "")))
        if not claimed:
            return unscored("no_figures")
        if any(_is_cut(step, run.content) for step in run.steps):
            return unscored("missing:step.result")
        ground = {form for text in _sources(run) for figure in figures(text) for form in figure.vouches}
        missing = [figure for figure in claimed if ground.isdisjoint(figure.forms)]
        if not missing:
            return scored(1.0, rationale=f"all {len(claimed)} figures occur in the input or a tool result")
        rationale = f"{len(missing)} of {len(claimed)} figures occur nowhere, first “{excerpt(missing[0].text)}”"
        return scored(1 - len(missing) / len(claimed), rationale=rationale)


def _is_source(step: Step) -> bool:
    return step.kind == "tool" or (step.kind == "other" and any(person in step.name.casefold() for person in _PERSON))


def _is_cut(step: Step, content: str) -> bool:
    """Whether a source was not recorded whole, so that a figure may stand in what is missing."""
    if not _is_source(step):
        return False
    is_absent = content != "full" and step.result is None and not step.error
    is_marked = _CUT.search((step.result or "")[-_CUT_WITHIN:]) is not None
    return is_absent or is_marked or step.result_size is not None


def _sources(run: Run) -> Iterator[str]:
    yield run.input or ""
    for step in run.steps:
        if _is_source(step):
            yield step.result or ""
            yield step.error or ""


def distinct(found: Iterable[NumberInText]) -> list[NumberInText]:
    """The figures worth asking after, each once, in their order."""
    return list({figure.forms: figure for figure in found if not _is_small(figure)}.values())


def _is_small(figure: NumberInText) -> bool:
    if figure.text.endswith("%"):
        return False
    return any(form.isdecimal() and int(form) <= _SMALL for form in figure.forms if len(form) <= 2)


def figures(text: str) -> Iterator[NumberInText]:
    """Every figure of a text, from left to right, small numbers included, repetitions mostly not.

    Example:
        >>> [sorted(figure.forms) for figure in figures("order ORD-1234 at 7:00 PM: $1,234.50")]
        [['id:ord-1234', 'id:ord1234'], ['time:19:00'], ['1234.5']]
    """
    seen: set[str] = set()
    for token in _TOKEN.finditer(_ESCAPED.sub(" ", text)):
        if token[0] in seen:
            continue
        seen.add(token[0])
        if word := token["word"]:
            if any(c.isdecimal() for c in word):
                yield from _of_word(word, is_percent=token["percent"] is not None)
        elif token["h"] or token["h2"]:
            yield from _of_time(token)
        else:
            yield from _of_date(token)
            if token["clock"]:
                yield from figures(token["clock"])


def _of_date(token: re.Match[str]) -> Iterator[NumberInText]:
    """A date, in both orders where they are open. One without a year matches any year, and is matched by any."""
    year = token["y"] or token["y2"] or token["y3"] or token["y4"]
    if token["a"]:
        pairs = [(int(token["a"]), int(token["b"])), (int(token["b"]), int(token["a"]))]
    elif token["m"]:
        pairs = [(int(token["m"]), int(token["d"]))]
    else:
        pairs = [(_MONTHS[(token["mon"] or token["mon2"]).casefold()], int(token["d2"] or token["d3"]))]
    days = [f"{month:02d}-{day:02d}" for month, day in pairs if 1 <= month <= 12 and 1 <= day <= 31]
    if not days:
        yield from (_number(part) for part in re.findall(r"\d+", token[0]))
        return
    any_year = {f"any-year:{day}" for day in days}
    day_only = {f"day:{day}" for day in days}
    if year is None:
        yield NumberInText(token[0], frozenset(day_only), frozenset(day_only | any_year))
        return
    dated = {f"date:{int(year):04d}-{day}" for day in days}
    parts = {str(int(part)) for part in re.findall(r"\d+", token[0])}
    yield NumberInText(token[0], frozenset(dated | any_year), frozenset(dated | day_only | parts))


def _of_time(token: re.Match[str]) -> Iterator[NumberInText]:
    """A time on the 24-hour clock; in both halves of the day where it is open."""
    hour, minute, half = int(token["h"] or token["h2"]), int(token["min"] or 0), token["half"] or token["half2"]
    if hour > 24 or minute > 59:
        yield from (_number(part) for part in re.findall(r"\d+", token[0]))
        return
    afternoon = {hour % 12 + 12}
    hours = {hour % 12} if half in ("a", "A") else afternoon if half else {hour} | (afternoon if hour < 12 else set())
    forms = frozenset(f"time:{hour:02d}:{minute:02d}" for hour in hours)
    yield NumberInText(token[0], forms, forms)


def _of_word(word: str, *, is_percent: bool) -> Iterator[NumberInText]:
    """The figures in what the tokens' pattern takes for one word."""
    unit = _UNIT.fullmatch(word) if len(word) <= _NUMBER_MAX else None
    if _is_plain(word) or _numbers(word):
        yield _number(word, is_percent=is_percent)
    elif unit and (number := unit["number"].rstrip(".,")) and _numbers(number):
        plain = _number(number)
        forms = plain.forms if len(word) < _ID_MIN else plain.forms | {f"id:{word.casefold()}"}
        yield NumberInText(word, forms, forms | plain.vouches)
    elif len(parts := _APART.split(word)) > 1:
        yield from (figure for part in dict.fromkeys(parts) for figure in figures(part))
    elif re.fullmatch(r"\d{1,20}-\d{1,20}", word):
        yield from (_number(part) for part in word.split("-"))
    elif _ID_MIN <= len(word) <= _ID_MAX:
        yield _id(word)


def _id(word: str) -> NumberInText:
    """An id, with and without what joins its parts; it vouches for each part: `mia_li_3668` for 3668."""
    parts = _JOINED.split(word)
    joined = "".join(parts)
    forms = {f"id:{word.casefold()}", f"id:{joined.casefold()}"} | _forms(joined)
    vouches = forms.union(*map(_forms, parts), (f"id:{part.casefold()}" for part in parts))
    return NumberInText(word, frozenset(forms), frozenset(vouches))


def _is_plain(word: str) -> bool:
    return word.isdecimal() and word.isascii()


def _number(word: str, *, is_percent: bool = False) -> NumberInText:
    if _is_plain(word) and not is_percent:  # most numbers of most runs, and ten times as fast
        whole = frozenset({word.lstrip("0") or "0"})
        return NumberInText(word, whole, whole)
    numbers = _numbers(word)
    meant = numbers | {number / 100 for number in numbers} if is_percent else numbers
    forms = frozenset(map(_written, meant))
    rounded = {_written(fewer) for number in meant for fewer in _roundings(number)}
    parts = {form for part in _APART.split(word) for form in _forms(part)}  # `15,20` is two numbers in a compact list
    return NumberInText(word + "%" * is_percent, forms, forms | rounded | parts)


def _roundings(number: Decimal) -> Iterator[Decimal]:
    """The number with fewer decimals than it has, where that is few enough to be written out."""
    if _is_modest(number) and number != number.to_integral_value():
        yield from (number.quantize(places, context=_EXACT) for places in _ROUNDINGS)


def _forms(word: str) -> set[str]:
    return set(map(_written, _numbers(word)))


def _numbers(word: str) -> set[Decimal]:
    """What number a word may mean: `1.234` is one and a bit here, a thousand and more there."""
    if len(word) > _NUMBER_MAX:
        return set()
    readings = set()
    if _PLAIN.fullmatch(word) or _POWER.fullmatch(word):
        readings.add(word)
    if _GROUPED.fullmatch(word):
        readings.add(_APART.sub("", word))
    if _CONTINENTAL.fullmatch(word):
        readings.add(word.replace(".", "").replace(",", "."))
    return {Decimal(reading) for reading in readings}


def _is_modest(number: Decimal) -> bool:
    return abs(number.adjusted()) < _NUMBER_MAX


def _written(number: Decimal) -> str:
    """The one way to write a number: `1234.50` and `1.2345e3` are `1234.5`."""
    trimmed = number.normalize(_EXACT)
    return f"{trimmed:f}" if _is_modest(trimmed) else str(trimmed)
