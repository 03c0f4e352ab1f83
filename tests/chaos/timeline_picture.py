"""The picture of a timeline: one HTML page with an SVG in it, without scripts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.timeline import Span, Timeline

_LEFT, _WIDTH, _ROW, _CHART, _LETTER = 130, 1000, 20, 120, 6.5
_ANSWERS = ("yes", "refused", "gate", "unknown")
_COLOURS = """text { font: 11px system-ui, sans-serif; fill: currentColor; }
.grid { stroke: #8884; } .healed { stroke: #15803d; stroke-dasharray: 4 3; }
.fault { fill: #dc2626; } .gate { fill: #d97706; } .recovery { fill: #2563eb; }
.up { fill: #16a34a; opacity: .55; }
.yes { fill: #16a34a; } .refused { fill: #64748b; } .unknown { fill: #9333ea; }"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }}
body {{ max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }}
svg {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; }}
td:nth-child(-n+2) {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
{colours}
.broken {{ color: #dc2626; }}
</style></head><body>
<h1>{title}</h1>
<p{broken}>{verdict}</p>
{figure}
<p>Operations a second: {legend}. The dashed line: no fault after it.</p>
<h2>What happened</h2>
<table><thead><tr><th>at</th><th>took</th><th>what</th><th>more</th></tr></thead>
<tbody>{rows}</tbody></table>
</body></html>
"""


def picture(shown: Timeline) -> str:
    """The page."""
    holds = shown.verdict.get("holds")
    found = sorted({each["invariant"] for each in shown.verdict.get("broken", [])})
    said = "Not judged." if holds is None else "Everything holds."
    legend = ", ".join(
        f'<svg width="10" height="10" style="width:10px"><rect width="10" height="10"'
        f' class="{name}"/></svg> {"503" if name == "gate" else name}'
        for name in _ANSWERS
    )
    return _PAGE.format(
        title=escape(shown.title),
        colours=_COLOURS,
        broken=' class="broken"' if holds is False else "",
        verdict=f"Broken: {escape(', '.join(found))}." if holds is False else said,
        figure=_figure(shown),
        legend=legend,
        rows="".join(_rows(shown)),
    )


def drawing(shown: Timeline) -> str:
    """The figure as a file of its own, on white: whoever shows it knows nothing of our colours."""
    figure = _figure(shown)
    begins = figure.index(">") + 1
    head = figure[:begins].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return f"{head}<style>{_COLOURS}</style>{ground}{figure[begins:]}\n"


def _rows(shown: Timeline) -> Iterable[str]:
    happened = [
        *((span, "fault: ") for span in shown.faults),
        *((span, "gate closed: ") for span in shown.gate),
        *((span, "recovery: ") for span in shown.recoveries),
    ]
    for span, kind in sorted(happened):
        took = (span.ends - span.begins) / 1000
        yield (
            f"<tr><td>{span.begins / 1000:.2f} s</td><td>{took:.2f} s</td>"
            f"<td>{kind}{escape(span.what)}</td><td>{escape(span.detail)}</td></tr>\n"
        )


def _figure(shown: Timeline) -> str:
    scale = _WIDTH / max(shown.length_ms, 1)
    rows: list[tuple[str, Sequence[Span], str]] = [
        *(("faults", row, "fault") for row in _stacked(shown.faults, scale)),
        ("gate closed", shown.gate, "gate"),
        ("recoveries", shown.recoveries, "recovery"),
        *((name, spans, "up") for name, spans in shown.lives.items()),
    ]
    parts = list(_chart(shown, scale))
    top = _CHART + 30
    for name, spans, kind in rows:
        parts.append(f'<text x="0" y="{top + 13}">{escape(name)}</text>')
        parts += [_bar(span, kind, top, scale) for span in spans]
        top += _ROW
    parts += _axis(shown, scale, top)
    return (
        f'<svg viewBox="0 0 {_LEFT + _WIDTH + 20} {top + 24}" role="img"'
        f' aria-label="{escape(shown.title)}">{"".join(parts)}</svg>'
    )


def _stacked(spans: Sequence[Span], scale: float) -> list[list[Span]]:
    """Spans on as few rows as keep them, and the names behind them, apart."""
    rows: list[list[Span]] = []
    taken: list[float] = []
    for span in sorted(spans):
        ends = span.ends * scale + len(span.what) * _LETTER
        number = next((n for n, at in enumerate(taken) if at <= span.begins * scale), len(rows))
        if number == len(rows):
            rows.append([])
            taken.append(0)
        rows[number].append(span)
        taken[number] = ends
    return rows


def _bar(span: Span, kind: str, top: int, scale: float) -> str:
    begins = _LEFT + span.begins * scale
    width = max(2.0, (span.ends - span.begins) * scale)
    told = escape(f"{span.begins / 1000:.2f}-{span.ends / 1000:.2f} s {span.what} {span.detail}")
    name = ""
    if kind == "fault":
        name = f'<text x="{begins + width + 2:.1f}" y="{top + 13}">{escape(span.what)}</text>'
    return (
        f'<rect class="{kind}" x="{begins:.1f}" y="{top + 3}" width="{width:.1f}"'
        f' height="{_ROW - 6}"><title>{told}</title></rect>{name}'
    )


def _chart(shown: Timeline, scale: float) -> Iterable[str]:
    """Operations a second, one bar a second, by how they ended."""
    most = max((sum(counts.values()) for counts in shown.outcomes.values()), default=1)
    yield f'<text x="0" y="12">{most} a second</text><text x="0" y="{_CHART}">0</text>'
    for second, counts in shown.outcomes.items():
        bottom = float(_CHART)
        for name in _ANSWERS:
            height = counts[name] / most * (_CHART - 10)
            bottom -= height
            if height:
                told = f"{second} s: {counts[name]} {name}"
                yield (
                    f'<rect class="{name}" x="{_LEFT + second * 1000 * scale:.1f}"'
                    f' y="{bottom:.1f}" width="{max(1.0, 1000 * scale - 1):.1f}"'
                    f' height="{height:.1f}"><title>{told}</title></rect>'
                )


def _axis(shown: Timeline, scale: float, bottom: int) -> Iterable[str]:
    step = next((each for each in (1, 2, 5, 10, 30) if shown.length_ms / each <= 20_000), 60)
    for second in range(0, shown.length_ms // 1000 + 1, step):
        across = _LEFT + second * 1000 * scale
        yield (
            f'<line class="grid" x1="{across:.1f}" x2="{across:.1f}" y1="10" y2="{bottom}"/>'
            f'<text x="{across:.1f}" y="{bottom + 14}">{second} s</text>'
        )
    across = _LEFT + shown.healed_ms * scale
    yield f'<line class="healed" x1="{across:.1f}" x2="{across:.1f}" y1="10" y2="{bottom}"/>'
