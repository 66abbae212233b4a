"""`snakepit top`: on a terminal of its own, and for scripts."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest

from snakepit import SnakepitError
from snakepit.cli.failures import ExitStatus
from snakepit.sync import Client
from support.dev_server import Dev
from support.screen import Screen

from .conftest import Command


@pytest.fixture
def top(server: Dev, typed: Command) -> Command:
    return lambda *words: typed("top", *words, "--server", server.server)


def start(server: Dev, *words: str) -> Screen:
    return Screen([sys.executable, "-m", "snakepit.cli", "top", *words, "--server", server.server, "--interval", "0.5"])


@pytest.fixture
def screen(server: Dev) -> Iterator[Screen]:
    with start(server) as shown:
        shown.until(lambda lines: any(line.startswith("default/tiny") for line in lines), "the pools are shown")
        yield shown


def fail(server: Dev, pool: str, times: int) -> None:
    with Client(server.server) as client:
        for _ in range(times):
            with pytest.raises(SnakepitError):
                client.pool(pool).call("fail", {"message": "gone"})


def of(lines: list[str], name: str) -> str:
    return next((line for line in lines if line.startswith(name)), "")


def pools(lines: list[str]) -> list[str]:
    """In the order of the screen."""
    return [line.split()[0] for line in lines if line.startswith("default/")]


def test_calls_and_errors_are_seen_as_they_come_and_the_terminal_is_as_it_was_at_the_end(server: Dev, screen: Screen) -> None:
    fail(server, "sample", 3)
    lines = screen.until(lambda lines: "TOOL_ERROR" in of(lines, "default/sample"), "errors by reason are seen")
    assert pools(lines) == ["default/sample", "default/tiny"], "what has most calls a second comes first"
    assert "workers of default/sample" in lines
    assert sum(" ready " in line for line in lines) == 4
    assert len(lines) == 30
    screen.press("q")
    assert screen.process.wait(30) == 0
    assert screen.told.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert screen.settings_now == screen.settings


def test_keys_choose_sort_and_filter_as_in_htop(server: Dev, screen: Screen) -> None:
    fail(server, "sample", 1)
    screen.until(lambda lines: pools(lines) == ["default/sample", "default/tiny"], "sample is the first")
    screen.press("\x1b[B")
    lines = screen.until(lambda lines: "workers of default/tiny" in lines, "the pool below is chosen")
    assert sum(" ready " in line for line in lines) == 1
    screen.press("I")
    screen.until(lambda lines: pools(lines) == ["default/tiny", "default/sample"], "the other way round")
    screen.press(">" * 5)
    screen.until(lambda lines: "by NAME, smallest first" in lines[0], "sorted by another column")
    screen.press("/SAM")
    screen.until(lambda lines: lines[-1] == "filter: SAM_" and pools(lines) == ["default/sample"], "what is typed filters at once")
    screen.press("\rj")
    screen.until(lambda lines: "filter SAM" in lines[0] and "workers of default/sample" in lines, "the filter stays")
    screen.press("\x1b")
    screen.until(lambda lines: len(pools(lines)) == 2, "Escape shows all")
    screen.press("h")
    screen.until(lambda lines: any("Page Up" in line for line in lines), "help")
    screen.press("x")
    screen.until(lambda lines: len(pools(lines)) == 2, "any key leaves it")
    screen.press("N")
    screen.until(lambda lines: "by NAME" in lines[0], "sorted by name")
    screen.press("\x03")
    assert screen.process.wait(30) == 0


def test_a_smaller_terminal_gets_a_smaller_screen(screen: Screen) -> None:
    screen.resize(40, 9)
    lines = screen.until(lambda lines: len(lines) == 9, "the screen is as high as the terminal")
    assert max(map(len, lines)) <= 40
    assert of(lines, "default/tiny")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(screen: Screen, number: signal.Signals) -> None:
    screen.process.send_signal(number)
    assert screen.process.wait(30) == 128 + number
    assert "\x1b[?1049l" in screen.told
    assert screen.settings_now == screen.settings


def test_one_look_is_a_table_or_json(server: Dev, top: Command) -> None:
    fail(server, "sample", 1)
    code, out, err = top()
    assert (code, err) == (0, "")
    heading, *rows = out.splitlines()
    assert heading.split() == ["NAME", "CAPSULES", "WORKERS", "BUSY", "QUEUE", "WAIT", "CALLS/S", "P50", "P99", "SESSIONS", "ERRORS"]
    assert [row.split()[0] for row in rows] == ["default/sample", "default/tiny"]
    found = json.loads(top("-o", "json", "--sort", "name")[1])
    by_name = {each["name"]: each for each in found["pools"]}
    assert by_name["default/sample"]["errors"]["TOOL_ERROR"] >= 1
    assert by_name["default/sample"]["callsPerSecond"] > 0
    assert len(by_name["default/sample"]["workers"]) == 4
    assert [row.split()[0] for row in top("--filter", "TIN")[1].splitlines()[1:]] == ["default/tiny"]
    assert "SERVED" in top("tiny", "--once")[1]


def test_what_is_not_there_is_said(top: Command) -> None:
    assert top("tinny") == (ExitStatus.USAGE, "", "snakepit: POOL_NOT_FOUND: there is no pool default/tinny: did you mean default/tiny?\n")
    code, _, err = top("--sort", "size")
    assert (code, "--sort size: there is no such column, only name, workers" in err) == (ExitStatus.USAGE, True)


def test_while_a_replica_takes_questions_and_answers_none_the_screen_says_so(server: Dev) -> None:
    with start(server, "tiny") as screen:
        screen.until(lambda lines: of(lines, "default/tiny"), "the pool is shown")
        server.send(signal.SIGSTOP)
        try:
            lines = screen.until(lambda lines: lines[2].endswith(": nobody has answered yet"), "that what is shown is old")
            assert lines[2].startswith("since ")
            assert of(lines, "default/tiny")
        finally:
            server.send(signal.SIGCONT)
        screen.until(lambda lines: not lines[2], "it answers again")


def test_while_the_control_plane_is_away_the_last_look_stays_with_the_reason(server: Dev) -> None:
    """Last of the module: it ends the server."""
    with start(server, "tiny") as screen:
        screen.until(lambda lines: of(lines, "default/tiny"), "the pool is shown")
        server.send(signal.SIGTERM)
        server.wait()
        lines = screen.until(lambda lines: "SERVER_UNAVAILABLE" in lines[2], "why there is nothing newer")
        assert of(lines, "default/tiny")
        screen.press("q")
        assert screen.process.wait(30) == 0
