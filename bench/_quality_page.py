"""Draws docs/quality.md from bench/results: `python -m bench._quality_page`.

The table between the page's two marks and the two plots beside it are rewritten; nothing is
measured here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, DOCS = ROOT / "bench" / "results", ROOT / "docs"
MARKS = "<!-- {}: python -m bench._quality_page -->\n", "<!-- end of {} -->\n"
INTERVALS = ("5h", "1h", "30min", "10min", "1min", "10s", "1s")
MONTHLY = {
    "release, frozen": "lightgbm",
    "refit monthly": "lightgbm_refit",
    "retrained monthly": "lightgbm_retrained",
    "retrained, one head": "single",
    "retrained, mixture": "mixture",
}
MARGIN = 1.01  # of the worst final log-loss: what begins above it would flatten all else
COLOURS = ("#888888", "#b5651d", "#2a7f62", "#6a5acd", "#c2185b")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 720, 320, 60, 16, 44, 170

Measures = Mapping[str, Mapping[str, Any]]
Lines = Mapping[str, Sequence[float]]


def main() -> None:
    """Rewrite the table and the plots of which there are results."""
    quality, sync = (_measures(name) for name in ("quality", "sync"))
    _rewrite("table", table(quality))
    _rewrite("intervals", sync_table(sync))
    _plot("quality-months", months(quality), "AUC by month, flights of 2013")
    for name in ("clicks", "flights"):
        title = f"AUC by synchronisation interval, {name}"
        _plot(f"quality-sync-{name}", intervals(sync, name), title)
    for file in sorted(RESULTS.glob("tune*.json")):
        for name in ("clicks", "flights"):
            title = f"log-loss on test rows by what was found in so many seconds, {name}"
            _plot(
                f"{file.stem.replace('_', '-')}-{name}", searches(_measures(file.stem), name), title
            )


def _rewrite(part: str, text: str) -> None:
    """Put the text between the page's two marks of this name."""
    begin, end = (mark.format(part) for mark in MARKS)
    page = DOCS / "quality.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(before + begin + text + end + rest.partition(end)[2], encoding="utf-8")


def _plot(name: str, found: tuple[list[str], Lines], title: str) -> None:
    labels, lines = found
    if lines:
        (DOCS / f"{name}.svg").write_text(draw(lines, labels, title), encoding="utf-8")


def _measures(name: str) -> Measures:
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return {}
    found: Measures = json.loads(file.read_text(encoding="utf-8"))["measures"]
    return found


def table(measures: Measures) -> str:
    """A row for each stream and method: what it scored and how far the mixture is ahead."""
    lines = [
        "| stream | method | rows | AUC | log-loss | accuracy | mixture's lead in log-loss |",
        "|---|---|---|---|---|---|---|",
    ]
    named = sorted({tuple(key.split("/")[:2]) for key in measures})
    for stream, method in named:
        if "-" in method or f"{stream}/{method}/auc" not in measures:
            continue
        auc, loss, right = (
            measures[f"{stream}/{method}/{kind}"] for kind in ("auc", "log_loss", "accuracy")
        )
        lead = measures.get(f"{stream}/mixture-{method}/log_loss")
        cells = [
            stream, f"**{method}**" if method == "mixture" else method, f"{auc['rows']:,}",
            _with_interval(auc), _with_interval(loss), f"{right['value']:.4f}",
            "" if lead is None else _lead(lead),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _with_interval(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['value']:.4f} ({low:.4f}–{high:.4f})"


def _lead(found: Mapping[str, Any]) -> str:
    """How much lower the mixture's log-loss is; its interval turned round with it."""
    low, high = found["interval"]
    return f"{-found['value']:+.4f} ({-high:+.4f} to {-low:+.4f})"


def months(measures: Measures) -> tuple[list[str], Lines]:
    """The AUC of each month, by method."""
    prefix = "flights/mixture/auc/"
    labels = sorted(key.removeprefix(prefix) for key in measures if key.startswith(prefix))
    lines = {
        title: [measures[f"flights/{method}/auc/{month}"]["value"] for month in labels]
        for title, method in MONTHLY.items()
        if labels
    }
    return labels, lines


def intervals(measures: Measures, stream: str) -> tuple[list[str], Lines]:
    """The AUC by interval, longest first as they were measured."""
    labels = [name for name in INTERVALS if f"{stream}/{name}/auc" in measures]
    values = [measures[f"{stream}/{name}/auc"]["value"] for name in labels]
    return labels, {"AUC": values} if values else {}


def searches(measures: Measures, stream: str) -> tuple[list[str], Lines]:
    """The log-loss of what each tuner had found by then; what is far above all ends is left out."""
    at = "/log_loss/at/"
    found = [key.partition(at) for key in measures if key.startswith(f"{stream}/") and at in key]
    labels = sorted({moment for _, _, moment in found}, key=lambda text: float(text[:-1]))
    tuners = sorted({name.partition("/")[2] for name, _, _ in found})
    most = MARGIN * max(
        (measures[f"{stream}/{name}/log_loss"]["value"] for name in tuners), default=0
    )

    def seen(key: str) -> float:
        value: float = measures[key]["value"] if key in measures else math.nan
        return value if value <= most else math.nan

    keys = {name: [f"{stream}/{name}{at}{label}" for label in labels] for name in tuners}
    return labels, {name: [seen(key) for key in keys[name]] for name in tuners}


def sync_table(measures: Measures) -> str:
    """A row for each interval: the AUC, and what was gained over the interval before."""
    lines = ["| stream | weights reach serving every | AUC | gain |", "|---|---|---|---|"]
    for stream in ("clicks", "flights"):
        labels = intervals(measures, stream)[0]
        for before, name in zip(["", *labels], labels, strict=False):
            gain = measures.get(f"{stream}/{name}-{before}/auc")
            told = "" if gain is None else _signed(gain["value"], *gain["interval"])
            lines.append(
                f"| {stream} | {name} | {measures[f'{stream}/{name}/auc']['value']:.5f} | {told} |"
            )
    return "\n".join(lines) + "\n"


def _signed(value: float, low: float, high: float) -> str:
    return f"{value:+.5f} ({low:+.5f} to {high:+.5f})"


def draw(lines: Lines, labels: Sequence[str], title: str) -> str:
    """An SVG of lines over named places, their names at the right; NaN is not drawn."""
    every = [value for line in lines.values() for value in line if not math.isnan(value)]
    low, high = min(every), max(every)
    margin = (high - low) * 0.08 or 0.001
    low, high = low - margin, high + margin

    def x(place: int) -> float:
        return LEFT + place * (WIDTH - LEFT - RIGHT) / max(len(labels) - 1, 1)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img"><title>{title}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in range(5):
        value = low + (high - low) * tick / 4
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            f'stroke="#dddddd"/><text x="{LEFT - 6}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{value:.4f}</text>'
        )
    for place, label in enumerate(labels):
        parts.append(
            f'<text x="{x(place):.1f}" y="{HEIGHT - BOTTOM + 18}" '
            f'text-anchor="middle">{label}</text>'
        )
    parts += [
        _line(
            name, COLOURS[at % len(COLOURS)], at,
            [(x(k), y(v)) for k, v in enumerate(line) if not math.isnan(v)],
        )
        for at, (name, line) in enumerate(lines.items())
    ]  # fmt: skip
    return "\n".join([*parts, f'<text x="{LEFT}" y="{HEIGHT - 6}">{title}</text>', "</svg>"]) + "\n"


def _line(name: str, colour: str, at: int, points: Sequence[tuple[float, float]]) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    legend = TOP + 14 + at * 18
    return (
        f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'
        f'<rect x="{WIDTH - RIGHT + 12}" y="{legend - 6}" width="16" height="3" fill="{colour}"/>'
        f'<text x="{WIDTH - RIGHT + 34}" y="{legend}">{name}</text>'
    )


if __name__ == "__main__":
    main()
