"""The charts of the HTML report as inline SVG, without scripts, fonts or images; all values are escaped."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from worker.core import calendar
from worker.core.report.formatting import day, percent
from worker.core.report.model import Mark, StreamChart, TaskTypeOutcome, WeekPoint
from worker.core.report.operational import WeekFigure

_WIDTH, _HEIGHT = 320, 152
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 26, 20
_LABEL_PX, _LABEL_CHARS = 6, 12
"""Approximate width of a character, and how many characters of a label are shown; its tooltip has the whole text."""
_FINDING_Y, _ROW_PX = 9, 11
"""Vertical position of the labels of findings; versions stand one row below, and overlapping labels move up a row."""
_WEEK_PX = 30
"""Width reserved for the name of a week."""
_FLOORS = (0.5, 0.4, 0.2, 0.0)
"""Possible lower ends of an axis, chosen so that its middle is a round number. An axis shows at least 50–100 %, so that
small variations near 100 % do not look large."""

HATCH = Markup(
    '<svg class="defs" width="0" height="0" aria-hidden="true" focusable="false"><defs>'
    '<pattern id="thin" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch" d="M0 0V6"/></pattern>'
    '<pattern id="poor" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="poor-fill" width="5" height="5"/><path class="poor-line" d="M0 0V5"/></pattern>'
    '<pattern id="errored" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect class="errored-fill" width="5" height="5"/><path class="errored-line" d="M0 2.5H5"/></pattern>'
    "</defs></svg>"
)
"""SVG patterns shared by all charts of a page."""

_SAID = {"finding": "finding", "version": "first seen: version", "series": "new series of the scorer:"}


class Axis(NamedTuple):
    """The vertical axis shared by the charts of one scorer; values 0..1."""

    low: float
    high: float

    def y(self, value: float) -> float:
        """The vertical position of a value, in pixels."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def axis_of(streams: Iterable[StreamChart]) -> Axis:
    """One axis for all charts of a scorer: up to 100 %, down to the lowest interval, and at most from 50 %."""
    lows = [point.low for stream in streams for point in stream.points if point.low is not None]
    lowest = min(lows, default=0.0)
    return Axis(next((floor for floor in _FLOORS if floor <= lowest), 0.0), 1.0)


def panel(stream: StreamChart, weeks: Sequence[str], axis: Axis, name: str) -> Markup:
    """The chart of one stream: weekly means with intervals; versions, new series and findings as vertical lines.

    Args:
        stream: The stream.
        weeks: ISO weeks shown, oldest first; at least one.
        axis: The vertical axis.
        name: Name of the task type, for screen readers.
    """
    points = [point for point in stream.points if point.week in weeks]
    places = {(point.week, point.series): _place(point, stream.marks, weeks) for point in points}
    marks, top = _marks(stream.marks, weeks)
    parts = [_grid(axis), _thin(points, weeks), *marks]
    parts += [part for line in _lines(points, weeks) for part in _line(line, places, axis)]
    parts += [_missing(point, places) for point in points if point.mean is None and point.population]
    parts.append(_weeks(weeks))
    return Markup('<svg class="panel" viewBox="0 {} {} {}" role="img" aria-label="{}">{}</svg>').format(
        top, _WIDTH, _HEIGHT - top, _said(stream, points, name), Markup().join(parts)
    )


_Places = Mapping[tuple[str, str], float]
"""Where the point of a week and series stands, 0..1 of the axis."""


def _place(point: WeekPoint, marks: Sequence[Mark], weeks: Sequence[str]) -> float:
    """The middle of the nights that the point's series measures: part of a week in which another took over."""
    taken_over = {mark.text: mark.night.weekday() for mark in marks if _is_take_over(mark, point.week)}
    start = taken_over.get(point.series, 0)
    end = min((night for series, night in taken_over.items() if night > start and series != point.series), default=7)
    return (weeks.index(point.week) + (start + end) / 14) / len(weeks)


def _is_take_over(mark: Mark, week: str) -> bool:
    return mark.kind == "series" and calendar.week_of(mark.night) == week


def _x(place: float) -> float:
    return _LEFT + place * (_WIDTH - _LEFT - _RIGHT)


def _grid(axis: Axis) -> Markup:
    lines = []
    for value in (axis.low, (axis.low + axis.high) / 2, axis.high):
        y = axis.y(value)
        lines.append(
            Markup('<path class="grid" d="M{} {:.1f}H{}"/><text class="tick" x="{}" y="{:.1f}">{}</text>').format(
                _LEFT, y, _WIDTH - _RIGHT, _LEFT - 5, y + 3.5, percent(value, digits=0)
            )
        )
    return Markup().join(lines)


def _thin(points: Sequence[WeekPoint], weeks: Sequence[str]) -> Markup:
    width = (_WIDTH - _LEFT - _RIGHT) / len(weeks)
    areas = [
        Markup('<rect class="thin" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>').format(
            _x(weeks.index(point.week) / len(weeks)),
            _TOP,
            width,
            _HEIGHT - _TOP - _BOTTOM,
            f"{point.week}: only {percent(point.coverage or 0.0, digits=0)} of the sample was scored",
        )
        for point in points
        if point.is_thin
    ]
    return Markup().join(areas)


def _lines(points: Sequence[WeekPoint], weeks: Sequence[str]) -> list[list[WeekPoint]]:
    """Groups of consecutive weeks of one series: a gap or a new series breaks the line."""
    lines: list[list[WeekPoint]] = []
    place = {week: number for number, week in enumerate(weeks)}
    by_series: dict[str, list[WeekPoint]] = {}
    for point in points:
        if point.mean is not None:
            by_series.setdefault(point.series, []).append(point)
    for series_points in by_series.values():
        for point in series_points:
            last = lines[-1][-1] if lines else None
            if last is not None and last.series == point.series and place[last.week] + 1 == place[point.week]:
                lines[-1].append(point)
            else:
                lines.append([point])
    return lines


def _line(line: Sequence[WeekPoint], places: _Places, axis: Axis) -> list[Markup]:
    coordinates = [
        (_x(places[point.week, point.series]), axis.y(point.mean), axis.y(point.low), axis.y(point.high), point)
        for point in line
        if point.mean is not None and point.low is not None and point.high is not None
    ]
    if not coordinates:
        return []
    if len(coordinates) == 1:
        x, _, low, high, _ = coordinates[0]
        shapes = [Markup('<path class="bar" d="M{:.1f} {:.1f}V{:.1f}"/>').format(x, low, high)]
    else:
        upper = " ".join(f"{x:.1f},{high:.1f}" for x, _, _, high, _ in coordinates)
        lower = " ".join(f"{x:.1f},{low:.1f}" for x, _, low, _, _ in reversed(coordinates))
        middle = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _, _ in coordinates)
        shapes = [
            Markup('<polygon class="band" points="{} {}"/>').format(upper, lower),
            Markup('<polyline class="mean" points="{}"/>').format(middle),
        ]
    for x, y, _, _, point in coordinates:
        shapes.append(
            Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.6"><title>{}</title></circle>').format(
                x, y, point_text(point)
            )
        )
    return shapes


def _missing(point: WeekPoint, places: _Places) -> Markup:
    x, y = _x(places[point.week, point.series]), _HEIGHT - _BOTTOM - 6
    return Markup('<g class="missing"><title>{}</title><path d="M{:.1f} {:.1f}l6 6m-6 0l6 -6"/></g>').format(
        f"{point.week}: nothing scored, {point.unscored:,} unscored", x - 3, y - 3
    )


def _marks(marks: Sequence[Mark], weeks: Sequence[str]) -> tuple[list[Markup], int]:
    """Vertical lines with labels, and the chart's top, which moves up where labels need more rows."""
    first = calendar.nights_of_week(weeks[0])[0]
    lines: list[Markup] = []
    labels: list[Markup] = []
    taken: dict[int, list[tuple[float, float]]] = defaultdict(list)
    highest = _FINDING_Y
    for mark in sorted(marks, key=lambda event: (event.kind != "finding", event.night)):
        place = ((mark.night - first).days + 0.5) / (7 * len(weeks))
        if not 0 <= place <= 1:
            continue
        x = _x(place)
        text = f"▼ {mark.text}" if mark.kind == "finding" else mark.text
        short = text if len(text) <= _LABEL_CHARS else text[: _LABEL_CHARS - 1] + "…"
        wide = _LABEL_PX * len(short)
        start = min(x - 3, _WIDTH - wide - 4)
        y = _FINDING_Y if mark.kind == "finding" else _FINDING_Y + _ROW_PX
        while any(start <= last and begin <= start + wide for begin, last in taken[y]):
            y -= _ROW_PX
        taken[y].append((start, start + wide))
        highest = min(highest, y)
        title = f"{day(mark.night)}: {_SAID[mark.kind]} {mark.text}{f' ({mark.why})' if mark.why else ''}"
        lines.append(
            Markup('<g><title>{}</title><path class="{}" d="M{:.1f} {}V{}"/></g>').format(
                title, mark.kind, x, min(_TOP - 3, y + 3), _HEIGHT - _BOTTOM
            )
        )
        labels.append(
            Markup(
                '<g><title>{}</title><rect class="behind" x="{:.1f}" y="{}" width="{}" height="{}"/>'
                '<text class="{}-label" x="{:.1f}" y="{}">{}</text></g>'
            ).format(title, start, y - 8, wide, _ROW_PX - 1, mark.kind, start, y, short)
        )
    return [*lines, *labels], highest - _FINDING_Y  # labels come last, so that no line covers one


def _weeks(weeks: Sequence[str]) -> Markup:
    step = max(1, -(-len(weeks) * _WEEK_PX // (_WIDTH - _LEFT - _RIGHT)))
    chosen = [place for place in range(len(weeks)) if (len(weeks) - 1 - place) % step == 0]
    return Markup().join(
        Markup('<text class="week" x="{:.1f}" y="{}">{}</text>').format(
            _x((place + 0.5) / len(weeks)), _HEIGHT - 6, weeks[place][5:]
        )
        for place in chosen
    )


def point_text(point: WeekPoint) -> str:
    """A point as text: the mean with its interval and n."""
    if point.mean is None or point.low is None or point.high is None:
        return f"{point.week}: nothing scored"
    low, high = percent(point.low, digits=0).removesuffix(" %"), percent(point.high, digits=0)
    thin = f", coverage {percent(point.coverage or 0.0, digits=0)}" if point.is_thin else ""
    return f"{point.week}: {percent(point.mean, digits=0)} [{low}–{high}], n {point.scored:,}{thin}"


def _said(stream: StreamChart, points: Sequence[WeekPoint], name: str) -> str:
    """The whole chart as text, for screen readers."""
    marks = [
        f"{mark.kind} {mark.text} from {day(mark.night)}"
        if mark.kind == "finding"
        else f"{mark.kind} {mark.text} on {day(mark.night)}"
        for mark in stream.marks
    ]
    weeks = "; ".join(point_text(point) for point in points)
    return f"{name}, {stream.scorer}, by week: {weeks}." + (f" Marks: {'; '.join(marks)}." if marks else "")


_PARTS = ("good", "poor", "unjudged", "aborted", "errored", "incomplete")


def shares_of(group: TaskTypeOutcome) -> dict[str, float]:
    """The outcomes of a task type as shares of all its runs, which sum to 1; empty without runs."""
    if not group.runs:
        return {}
    good = group.good.mean
    completed = group.completed / group.runs
    shares = dict.fromkeys(_PARTS, 0.0) | {
        "aborted": group.aborted / group.runs,
        "errored": group.errored / group.runs,
        "incomplete": group.incomplete / group.runs,
    }
    if good is None:
        shares["unjudged"] = completed
    else:
        shares |= {"good": completed * good, "poor": completed * (1 - good)}
    return shares


def outcome_bar(group: TaskTypeOutcome) -> Markup:
    """The outcomes of a task type as one bar; the figures are in the table beside it."""
    x, parts = 0.0, []
    for name, share in shares_of(group).items():
        if share > 0:
            parts.append(
                Markup(
                    '<rect class="part-{0}" x="{1:.2f}" width="{2:.2f}" height="14"><title>{3}</title></rect>'
                ).format(name, 200 * x, 200 * share, f"{name} {percent(share)}")
            )
            x += share
    return Markup(
        '<svg class="outcome" viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(Markup().join(parts))


def spark(figures: Sequence[WeekFigure]) -> Markup:
    """A small line chart by week, from 0 up, with the newest week marked; empty where no week has a figure."""
    values = [(place, figure.value) for place, figure in enumerate(figures) if figure.value is not None]
    if not values:
        return Markup()
    highest = max(value for _, value in values) or 1.0
    step = 84 / max(1, len(figures) - 1)
    points = [(3 + place * step, 21 - 18 * value / highest) for place, value in values]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return Markup(
        '<svg class="spark" viewBox="0 0 90 24" aria-hidden="true"><path class="grid" d="M0 21.5H90"/>'
        '<polyline class="mean" points="{}"/><circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.6"/></svg>'
    ).format(line, x, y)
