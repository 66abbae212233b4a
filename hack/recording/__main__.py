"""`make recording`: runs `make demo` on a terminal, and keeps what it showed: docs/images/demo.cast, and its picture, demo.svg.

--draw draws the picture of the cast that is there.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "hack"))

from recording import asciicast, picture  # noqa: E402  # hack/ is no distribution

CAST = ROOT / "docs/images/demo.cast"
PICTURE = CAST.with_suffix(".svg")
COLUMNS, ROWS = 100, 30
SECONDS = 120


def main() -> None:
    if "--draw" not in sys.argv:
        cast = asciicast.record(("make", "demo"), ROOT, columns=COLUMNS, rows=ROWS, seconds=SECONDS)
        CAST.write_text(cast.text())
    PICTURE.write_text(picture.svg(asciicast.read(CAST.read_text())))


if __name__ == "__main__":
    main()
