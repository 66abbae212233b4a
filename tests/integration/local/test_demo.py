"""`make demo` to its end: it finds that all was as it should be, and prints what the recording shows that README has."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from support.dev_server import Program

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "examples/digits/demo"
RECORDING = ROOT / "docs/images/demo.cast"
SECONDS = 90

pytestmark = pytest.mark.timeout(SECONDS + 30)


def shapes(lines: list[str]) -> list[str]:
    """Without figures, ids, and the one call that may be lost, or not, when a worker is killed."""
    kept = [line for line in lines if not re.search(r"its caller was told|died during the call", line)]
    named = [re.sub(r"lost: .*", "lost: …", re.sub(r"digits-\d+-[0-9a-f]+/\d+", "WORKER", line)) for line in kept]
    return [re.sub(r"\d[\d.,]*", "0", re.sub(r"\d[\d.,]* (m?s)\b", r"0 \1", line)).strip() for line in named]


def recorded() -> list[str]:
    sys.path.append(str(ROOT / "hack"))
    from recording import asciicast, screen

    prompt, *lines = screen.final_lines(asciicast.read(RECORDING.read_text()))
    assert prompt == "$ make demo"
    return lines


def test_the_demo_finds_all_as_it_should_be_and_prints_what_is_recorded() -> None:
    program = Program(sys.executable, str(DEMO), cwd=ROOT)
    try:
        assert program.wait(SECONDS) == 0, program.output
        assert shapes(program.lines[:-1]) == shapes(recorded()[:-1]), "make recording"
        assert program.lines[-1].endswith("snakepit dev examples/digits/pool.yaml")
        assert recorded()[-1] == "    .venv/bin/snakepit dev examples/digits/pool.yaml"
        program.leaves_nothing()
    finally:
        program.end()
