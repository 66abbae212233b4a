"""Lists as Python-Markdown reads them: what an item contains stands four spaces further in, where CommonMark wants two or three.

Pure. Text outside of lists stays as it is, and so does a line that goes on with a paragraph without any indent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ITEM = re.compile(r"(?P<indent> *)(?P<marker>(?:[*-]|\d{1,9}\.) +)(?=\S)")
FENCE = "```"
STEP = 4


def widened(text: str) -> str:
    return "".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    """`within`: where the contents of the items around begin, the outermost first."""
    within: list[int] = []
    blank, code = True, False
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip(" "))
        item = None if code else ITEM.match(line)
        if not code and line.strip() and (blank or item or line.lstrip().startswith(FENCE)):
            within = [start for start in within if start <= indent]
        if within and line.strip() and (code or indent >= within[-1]):
            yield " " * (STEP * len(within) + max(0, indent - within[-1])) + line.lstrip(" ")
        else:
            yield line
        if item:
            within.append(item.end())
        code ^= line.lstrip().startswith(FENCE)
        blank = not line.strip()
