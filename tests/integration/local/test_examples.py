"""The examples of HTTP and MCP, by the commands that stand in them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from support.dev_server import Program
from support.pages import ROOT
from support.ports import free_port

NOTES = Path("examples/notes")

pytestmark = pytest.mark.timeout(180)


def command(name: str) -> list[str]:
    """As the example itself has it."""
    (line,) = re.findall(r"examples/notes/with-pool [^`\n]+", (ROOT / NOTES / name).read_text())
    return line.split()


def ran(name: str) -> list[str]:
    """What it printed."""
    program = Program(*command(name), cwd=ROOT, PORT=str(free_port()))
    try:
        assert program.wait(120) == 0, program.output
        program.leaves_nothing()
    finally:
        program.end()
    return program.lines


def test_notes_over_http() -> None:
    lines = ran("over-http.sh")
    assert lines[1:3] == ["1", "2"]
    assert lines[4:6] == ['{"chunk":"milk"}', '{"chunk":"eggs"}']
    output = "\n".join(lines)
    assert output.index("page 1") < output.index("page 3") < output.index("3 pages") < output.index('"INVALID_ARGUMENTS"')


def test_notes_over_mcp() -> None:
    lines = ran("over_mcp.py")
    assert "add, clear, open_session, read, report, ticks, wait" in lines[0]
    assert "['milk', 'eggs']" in lines[1]
    assert [line.strip() for line in lines[3:6]] == ["33% page 1", "67% page 2", "100% page 3"]
    assert "pages" in lines[-1]


def test_a_pool_that_cannot_start_is_said_and_leaves_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        program = Program(str(NOTES / "with-pool"), "true", cwd=ROOT, PORT=str(taken.getsockname()[1]))
        try:
            assert program.wait(120) == 1
            assert "end what listens there (another `snakepit dev`?), or choose another with --listen" in program.output
            program.leaves_nothing()
        finally:
            program.end()
