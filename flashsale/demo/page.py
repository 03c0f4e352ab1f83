"""Reports as one HTML file that needs nothing else: tables and curves drawn as SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 12, 28
POINTS_MAX = 1200
COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea")

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; }
body { padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; } td { padding: .3rem .2rem; vertical-align: top; }
tr + tr td { border-top: 1px solid var(--line); } td:last-child { text-align: right; }
.good { color: #059669; } .bad { color: #dc2626; } .note { color: var(--soft); }
svg { width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.grid { stroke: var(--line); } .curve { fill: none; stroke-width: 2; }
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart: points of (seconds, value), by rising seconds."""

    label: str
    points: Sequence[tuple[float, float]]


def chart(title: str, unit: str, curves: Sequence[Curve]) -> str:
    """Curves over seconds since the opening, in one picture with a legend."""
    drawn = [Curve(curve.label, _thinned(curve.points)) for curve in curves]
    points = [point for curve in drawn for point in curve.points]
    heading = f"<h2>{escape(title)} <span class=note>{escape(unit)}</span></h2>"
    if not points:
        return f"{heading}<p class=note>Nothing was measured.</p>"
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    top = _round_up(max((y for _, y in points), default=0))
    lines = "".join(
        _line(curve, COLOURS[number % len(COLOURS)], first, last, top)
        for number, curve in enumerate(drawn)
    )
    legend = " &nbsp; ".join(
        f'<span style="color:{COLOURS[number % len(COLOURS)]}">━</span> {escape(curve.label)}'
        for number, curve in enumerate(drawn)
    )
    return (
        f'{heading}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_grid(first, last, top)}{lines}</svg><p class=note>{legend}</p>"
    )


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most POINTS_MAX points; of those left out, the highest stands for its neighbours."""
    step = math.ceil(len(points) / POINTS_MAX)
    if step <= 1:
        return points
    groups = (points[at : at + step] for at in range(0, len(points), step))
    return [max(group, key=lambda point: point[1]) for group in groups]


def _round_up(value: float) -> float:
    """The next of 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999)


def _x(value: float, first: float, last: float) -> float:
    return LEFT + (value - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)


def _line(curve: Curve, colour: str, first: float, last: float, top: float) -> str:
    path = " ".join(f"{_x(x, first, last):.1f},{_y(y, top):.1f}" for x, y in curve.points)
    return f'<polyline class="curve" stroke="{colour}" points="{path}"/>'


def _grid(first: float, last: float, top: float) -> str:
    parts = []
    for quarter in range(5):
        value = top * quarter / 4
        y = _y(value, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_short(value)}</text>')
    step = _round_up((last - first) / 8)
    for number in range(math.ceil(first / step), math.floor(last / step) + 1):
        x = _x(number * step, first, last)
        text = f"{number * step:g} s"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text}</text>')
    return "".join(parts)


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    return f"{value / 1000:g} k" if value >= 10_000 else f"{value:g}"


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns: what, and how much."""
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{cells}</table>"


def verdict(*, good: bool, text: str) -> str:
    """A sentence that stands out."""
    return f"<p class={'good' if good else 'bad'}><strong>{escape(text)}</strong></p>"


def note(text: str) -> str:
    """A sentence of explanation."""
    return f"<p class=note>{escape(text)}</p>"


def heading(text: str) -> str:
    """What comes next."""
    return f"<h2>{escape(text)}</h2>"


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document."""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</html>\n"
    )
