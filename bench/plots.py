"""Line plots as SVG: the same figures make the same bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 40, 55
COLOURS: Final = ("#1b6ca8", "#c0392b", "#27803b", "#8e5bb5", "#b9770e", "#444444")
_LINEAR_STEPS: Final = (1, 2, 5, 10)
_TICKS: Final = 6


@dataclass(frozen=True)
class Series:
    """One line; None where there is no figure."""

    name: str
    values: Sequence[float | None]
    colour: int = 0
    dashed: bool = False


def plot(
    title: str, across: str, labels: Sequence[str], up: str, series: Sequence[Series], *, logarithmic: bool = False
) -> str:
    """A plot of lines over labels at even distances."""
    values = [value for line in series for value in line.values if value is not None]
    ticks, height_of = (_logarithmic if logarithmic else _linear)(values)
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    step = (right - LEFT) / max(1, len(labels) - 1)
    xs = [LEFT + number * step for number in range(len(labels))]

    def y(value: float) -> float:
        return bottom - height_of(value) * (bottom - TOP)

    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 22, title, size=15),
    ]
    for tick in ticks:
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{right:.1f}" stroke="#dddddd"/>')
        parts.append(_text(LEFT - 8, y(tick) + 4, f"{tick:,g}", anchor="end"))
    parts += [_text(x, bottom + 18, label, anchor="middle") for x, label in zip(xs, labels, strict=True)]
    parts.append(_text((LEFT + right) / 2, HEIGHT - 12, across, anchor="middle"))
    parts.append(
        f'<text transform="translate(18 {(TOP + bottom) / 2:.1f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
    )
    for number, line in enumerate(series):
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        stroke = f'stroke="{COLOURS[line.colour % len(COLOURS)]}" stroke-width="2"{dash}'
        points = [(x, y(value)) for x, value in zip(xs, line.values, strict=True) if value is not None]
        if points:
            parts.append(f'<path d="M{"L".join(f"{x:.1f} {at:.1f}" for x, at in points)}" fill="none" {stroke}/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{at:.1f}" r="3" fill="{COLOURS[line.colour % len(COLOURS)]}"/>'
            for x, at in points
        ]
        key = TOP + 10 + 20 * number
        parts.append(f'<path d="M{right + 14:.1f} {key}h28" {stroke}/>')
        parts.append(_text(right + 48, key + 4, line.name))
    return "\n".join([*parts, "</svg>", ""])


def _linear(values: Sequence[float]) -> tuple[list[float], Callable[[float], float]]:
    """Ticks, and how high a value stands, from 0 to 1."""
    most = max(values, default=1.0)
    power = 10.0 ** floor(log10(most / _TICKS))
    step = next(step * power for step in _LINEAR_STEPS if step * power * _TICKS >= most)
    top = ceil(most / step) * step
    return [number * step for number in range(round(top / step) + 1)], lambda value: value / top


def _logarithmic(values: Sequence[float]) -> tuple[list[float], Callable[[float], float]]:
    low, high = floor(log10(min(values, default=1.0))), ceil(log10(max(values, default=10.0)))
    span = max(1, high - low)
    return [10.0**power for power in range(low, low + span + 1)], lambda value: (log10(value) - low) / span


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
