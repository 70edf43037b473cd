"""The plots of a search as SVG: how the best fell, and what decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 320, 70, 16, 28, 36
ROW, NAMES = 22, 200
BEST, OTHER, GIVEN_UP = "#2a7f62", "#6a5acd", "#bbbbbb"
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" font-family="sans-serif" '
    'font-size="12" fill="#333">\n<rect width="{0}" height="{1}" fill="white"/>'
)


def history(points: Sequence[Mapping[str, Any]]) -> str:
    """Every trial's loss by the time it ended, and the best by then as a line."""
    shown = [point for point in points if point["loss"] is not None]
    losses = sorted(point["loss"] for point in shown)
    parts = [_HEAD.format(WIDTH, HEIGHT)]
    if shown:
        # A few trials go far wrong: the plot ends where three of four are.
        low, high = losses[0], losses[int(0.75 * (len(losses) - 1))]
        high = max(high, *(point["best"] or low for point in shown[:1]), low + 1e-9)
        last = max(point["seconds"] for point in shown) or 1.0
        parts += _axes(low, high, last)
        line = []
        for point in shown:
            x, y = _x(point["seconds"], last), _y(point["loss"], low, high)
            colour = OTHER if point["state"] == "complete" else GIVEN_UP
            said = escape(f"trial {point['trial']}, {point['family']}: {point['loss']:.6f}")
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{said}</title>'
                "</circle>"
            )
            if point["best"] is not None:
                line.append(f"{x:.1f},{_y(point['best'], low, high):.1f}")
        best = f'fill="none" stroke="{BEST}" stroke-width="2"'
        parts.append(f'<polyline points="{" ".join(line)}" {best}/>')
    return "\n".join([*parts, "</svg>\n"])


def bars(importance: Mapping[str, Mapping[str, float]]) -> str:
    """One bar for each setting of each family, as long as its share."""
    rows = [
        (f"{family}.{name}", v) for family, found in importance.items() for name, v in found.items()
    ]
    height = TOP + ROW * max(1, len(rows)) + 8
    parts = [_HEAD.format(WIDTH, height), f'<text x="8" y="18">{_title(rows)}</text>']
    for place, (name, share) in enumerate(rows):
        y = TOP + ROW * place
        length = share * (WIDTH - NAMES - 70)
        parts += [
            f'<text x="{NAMES - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{NAMES}" y="{y + 3}" width="{length:.1f}" height="14" fill="{OTHER}"/>',
            f'<text x="{NAMES + length + 6:.1f}" y="{y + 14}">{share:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def _title(rows: Sequence[tuple[str, float]]) -> str:
    return (
        "Importance of each setting (PED-ANOVA)" if rows else "Too few trials to say what matters"
    )


def _axes(low: float, high: float, last: float) -> list[str]:
    middle = (low + high) / 2
    parts = ['<text x="8" y="18">Loss on the folds by seconds; the line is the best by then</text>']
    for value in (low, middle, high):
        y = _y(value, low, high)
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4f}</text>',
        ]
    for share in (0.0, 0.5, 1.0):
        x = _x(share * last, last)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{share * last:.0f} s</text>'
        )
    return parts


def _x(seconds: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / last, 0.0), 1.0)


def _y(loss: float, low: float, high: float) -> float:
    share = min(max((loss - low) / (high - low), 0.0), 1.0)
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
