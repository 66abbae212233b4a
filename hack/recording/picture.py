"""A recording as a moving picture: SVG, whose lines come and go by CSS. Pure. Who wants no motion sees how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from .asciicast import Cast
from .screen import Run, Shown, shown

CELL, LINE, LETTER = 8.4, 19, 14
"""Pixels: a letter's width, a line's height, a font's size."""
EDGE, BAR = 16, 34
HOLD_SECONDS = 8.0
"""The end stays so long, before it begins again."""
COLOURS = {
    "default": "#d7dae0",
    "red": "#ff7b72",
    "green": "#7ec77e",
    "brown": "#e3c34a",
    "blue": "#79b0ff",
    "magenta": "#d9a0f0",
    "cyan": "#6cc7d8",
    "white": "#f0f2f5",
    "brightblack": "#99a1ac",
}
STYLE = (
    ".term text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
    ".term .b{font-weight:bold}.gone{visibility:hidden}"
    "@media (prefers-reduced-motion:reduce){*{animation:none!important}}"
)


def svg(cast: Cast) -> str:
    """The file."""
    lines, lowest, last = shown(cast)
    seconds = last + HOLD_SECONDS
    spans = sorted({(line.begins, line.ends or seconds) for line in lines})
    names = {span: f"a{at}" for at, span in enumerate(spans)}
    style = [STYLE, *(_span(names[span], span, seconds) for span in spans), _scroll(cast, lowest, seconds)]
    drawn = [_line(line, names[line.begins, line.ends or seconds]) for line in lines]
    return "\n".join([*_frame(cast, style), *drawn, "</g></svg></svg>", ""])


def _frame(cast: Cast, style: Sequence[str]) -> list[str]:
    width, height = round(cast.columns * CELL), cast.rows * LINE
    whole = f"{width + 2 * EDGE} {BAR + height + EDGE}"
    day, title = datetime.fromtimestamp(cast.began, UTC).date(), escape(cast.title)
    grey = f'fill="{COLOURS["brightblack"]}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole}" width="{width + 2 * EDGE}" role="img" xml:space="preserve">',
        f"<title>{title}, as it was on {day}</title>",
        f"<style>{''.join(style)}</style>",
        '<rect width="100%" height="100%" rx="8" fill="#16181d"/>',
        f'<g class="term"><text x="{EDGE}" y="23" {grey}>{title} · {day} · slowed down to be read</text></g>',
        f'<svg class="term" x="{EDGE}" y="{BAR}" width="{width}" height="{height}" overflow="hidden"><g class="all">',
    ]


def _line(line: Shown, name: str) -> str:
    gone = "" if line.ends is None else "gone "
    return f'<g class="{gone}{name}">{"".join(_text(run, line.row) for run in line.runs)}</g>'


def _text(run: Run, row: int) -> str:
    """`textLength`: whatever font it is, the columns stand where they stood."""
    look = f'fill="{COLOURS.get(run.colour, f"#{run.colour}")}"' + (' class="b"' if run.bold else "")
    place = f'x="{run.column * CELL:.1f}" y="{row * LINE + LETTER}" textLength="{len(run.text) * CELL:.1f}"'
    return f'<text {place} lengthAdjust="spacingAndGlyphs" {look}>{escape(run.text)}</text>'


def _span(name: str, span: tuple[float, float], seconds: float) -> str:
    begins, ends = (f"{100 * at / seconds:.2f}%" for at in span)
    gone = "" if span[1] == seconds else f"{ends}{{visibility:hidden}}"
    return (
        f"@keyframes {name}{{0%{{visibility:hidden}}{begins}{{visibility:visible}}{gone}}}"
        f".{name}{{animation:{name} {seconds:.2f}s step-end infinite}}"
    )


def _scroll(cast: Cast, lowest: Sequence[tuple[float, int]], seconds: float) -> str:
    """The lowest line is always in sight."""
    steps = [(at, max(0, row - cast.rows + 1)) for at, row in lowest]
    frames = "".join(f"{100 * at / seconds:.2f}%{{transform:translateY({-up * LINE}px)}}" for at, up in steps if at == 0 or up)
    return (
        f"@keyframes all{{{frames}}}.all{{transform:translateY({-steps[-1][1] * LINE}px);animation:all {seconds:.2f}s step-end infinite}}"
    )
