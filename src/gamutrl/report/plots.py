"""Plots as inline SVG: they take the page's colours, its light and its dark, and need no file beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 24
COLOURS = 8


@dataclass(frozen=True)
class Line:
    """One line of a chart: its values by step, NaN where there is none. `colour` numbers the page's palette."""

    label: str
    values: Sequence[float]
    colour: int = 0
    faint: Sequence[float] | None = None


@dataclass(frozen=True)
class Interval:
    """A value with its interval, a row of a dot-and-whisker chart."""

    label: str
    value: float
    low: float
    high: float
    colour: int = 0
    strong: bool = False


def line_chart(lines: Sequence[Line], *, marks: Sequence[tuple[int, str]] = (), floor: float | None = None) -> Markup:
    """Lines over steps. marks: where stages begin, `(step, name)`. floor: a value that the axis must reach down to."""
    values = [v for line in lines for v in (*line.values, *(line.faint or ())) if math.isfinite(v)]
    if not values:
        return Markup('<p class="none">nothing was logged</p>')
    low, high = _range(min(values), max(values), floor)
    steps = max(len(line.values) for line in lines)
    x = _scale(0, max(1, steps - 1), LEFT, WIDTH - RIGHT)
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_axes(low, high, steps, y, x)]
    for step, name in marks:
        parts.append(f'<line class="mark" x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="mark" x="{x(step) + 3:.1f}" y="{TOP + 8}">{escape(name)}</text>')
    for line in lines:
        if line.faint is not None:
            parts.append(_path(line.faint, x, y, f"faint c{line.colour % COLOURS}"))
        parts.append(_path(line.values, x, y, f"line c{line.colour % COLOURS}"))
    data = {
        "labels": [line.label for line in lines],
        "values": [[_short(v) for v in line.values] for line in lines],
        "x": [LEFT, WIDTH - RIGHT],
    }
    legend = _legend([(line.label, line.colour) for line in lines]) if len(lines) > 1 else ""
    return Markup(
        f'<div class="chart" data-chart="{escape(json.dumps(data))}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg><output></output></div>{legend}'
    )


def stacked_chart(lines: Sequence[Line], *, marks: Sequence[tuple[int, str]] = ()) -> Markup:
    """Non-negative values on top of each other, as areas over steps."""
    steps = max((len(line.values) for line in lines), default=0)
    totals = [0.0] * steps
    layers: list[tuple[Line, list[float], list[float]]] = []
    for line in lines:
        below = list(totals)
        for i, value in enumerate(line.values):
            totals[i] += value if math.isfinite(value) else 0.0
        layers.append((line, below, list(totals)))
    if not steps or not max(totals):
        return Markup('<p class="none">nothing was logged</p>')
    x = _scale(0, max(1, steps - 1), LEFT, WIDTH - RIGHT)
    low, high = _range(0.0, max(totals), 0.0)
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_axes(low, high, steps, y, x)]
    for line, below, above in layers:
        edge = [f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(above)]
        back = [f"{x(i):.1f},{y(v):.1f}" for i, v in reversed(list(enumerate(below)))]
        parts.append(f'<polygon class="area c{line.colour % COLOURS}" points="{" ".join(edge + back)}"/>')
    data = {
        "labels": [line.label for line in lines],
        "values": [[_short(v) for v in line.values] for line in lines],
        "x": [LEFT, WIDTH - RIGHT],
    }
    return Markup(
        f'<div class="chart" data-chart="{escape(json.dumps(data))}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg><output></output></div>'
        f"{_legend([(line.label, line.colour) for line in lines])}"
    )


def interval_chart(rows: Sequence[Interval], *, low: float = 0.0, high: float = 1.0) -> Markup:
    """Values with their intervals on one axis, one under the other."""
    edges = [edge for row in rows for edge in (row.low, row.high, row.value) if math.isfinite(edge)]
    low, high = min([low, *edges]), max([high, *edges])
    width, left, right, step = 640, 190, 60, 30
    x = _scale(low, high, left, width - right)
    height = step * len(rows) + 30
    parts = []
    for tick in _ticks(low, high, 5):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="4" y2="{height - 24}"/>')
        parts.append(
            f'<text class="tick" x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{_number(tick)}</text>'
        )
    for i, row in enumerate(rows):
        middle = step * i + step / 2 + 4
        weight = " strong" if row.strong else ""
        place = f'x="{left - 14}" y="{middle + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="name{weight}" {place}>{escape(row.label)}</text>')
        if not math.isfinite(row.value):
            continue
        colour, level = f"c{row.colour % COLOURS}", f'y1="{middle}" y2="{middle}"'
        if math.isfinite(row.low) and math.isfinite(row.high):
            parts.append(f'<line class="whisker {colour}" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" {level}/>')
        parts.append(f'<circle class="dot {colour}" cx="{x(row.value):.1f}" cy="{middle}" r="5.5"/>')
        parts.append(f'<text class="value{weight}" x="{width - right + 8}" y="{middle + 4:.1f}">{row.value:.3f}</text>')
    return Markup(f'<svg class="intervals" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>')


def smooth(values: Sequence[float], span: int | None = None) -> list[float]:
    """A running mean over `span` steps around each (by default an eighth of all), NaN left out."""
    span = span or max(1, len(values) // 8)
    half, out = span // 2, []
    for i in range(len(values)):
        near = [v for v in values[max(0, i - half) : i + half + 1] if math.isfinite(v)]
        out.append(sum(near) / len(near) if near else math.nan)
    return out


def _axes(low: float, high: float, steps: int, y: _Scale, x: _Scale) -> str:
    parts = []
    for tick in _ticks(low, high, 4):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{_number(tick)}</text>'
        )
    for tick in _ticks(0, max(1, steps - 1), 5):
        if tick == int(tick) and tick < steps:
            parts.append(
                f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{int(tick)}</text>'
            )
    return "".join(parts)


def _path(values: Sequence[float], x: _Scale, y: _Scale, style: str) -> str:
    """A line that breaks where there is no value; a value alone becomes a point."""
    runs: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if math.isfinite(value):
            runs[-1].append(f"{x(i):.1f},{y(value):.1f}")
        elif runs[-1]:
            runs.append([])
    return "".join(
        f'<polyline class="{style}" points="{" ".join(run if len(run) > 1 else run * 2)}"/>' for run in runs if run
    )


def _legend(items: Sequence[tuple[str, int]]) -> str:
    keys = "".join(f'<li><i class="c{colour % COLOURS}"></i>{escape(label)}</li>' for label, colour in items)
    return f'<ul class="legend">{keys}</ul>'


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(low, high if high > low else low + 1, start, end)


def _range(low: float, high: float, floor: float | None) -> tuple[float, float]:
    if floor is not None:
        low = min(low, floor)
    if high == low:
        margin = abs(high) * 0.1 or 0.5
        return low - (0 if floor == low else margin), high + margin
    margin = 0.05 * (high - low)
    return (low if floor is not None and low == floor else low - margin), high + margin


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers inside [low, high], about so many."""
    raw = (high - low) / max(1, about)
    if raw <= 0 or not math.isfinite(raw):
        return [low]
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    if value and (abs(value) >= 10000 or abs(value) < 0.001):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:g}"


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
