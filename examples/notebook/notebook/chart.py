"""Bars, as an SVG: a label and a number each."""

from collections.abc import Sequence
from html import escape

BAR, GAP, WIDTH, LABELS = 24, 8, 480, 120


def bars(rows: Sequence[tuple[str, float]]) -> str:
    """The picture; as long as the bars need it."""
    largest = max((number for _, number in rows), default=0) or 1
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{len(rows) * (BAR + GAP)}" font-family="sans-serif">']
    for place, (label, number) in enumerate(rows):
        top, length = place * (BAR + GAP), (WIDTH - LABELS - 60) * max(number, 0) / largest
        lines += [
            f'<text x="0" y="{top + BAR * 0.7:g}">{escape(label)}</text>',
            f'<rect x="{LABELS}" y="{top}" width="{length:g}" height="{BAR}" fill="teal"/>',
            f'<text x="{LABELS + length + 6:g}" y="{top + BAR * 0.7:g}">{number:g}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
