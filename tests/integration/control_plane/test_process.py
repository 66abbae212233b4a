"""The program itself: starts, refuses bad settings, ends on TERM."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import log_lines
from support.authority import Authority
from support.ports import free_port

PROGRAM = [sys.executable, "-m", "snakepit_control_plane.main"]


@contextlib.contextmanager
def program(**environment: str) -> Iterator[subprocess.Popen[str]]:
    """Killed at the end, if it still runs."""
    settings = {"SNAKEPIT_LISTEN": "127.0.0.1:0", "SNAKEPIT_METRICS_LISTEN": "off", "SNAKEPIT_LINGER_SECONDS": "0", **environment}
    with subprocess.Popen(PROGRAM, env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_term_ends_it_with_exit_code_0() -> None:
    with program() as process:
        assert process.stderr is not None
        assert "serves on 127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors


def test_it_lingers_for_all_of_its_time_as_it_cannot_know_who_is_still_led_to_it() -> None:
    with program(SNAKEPIT_LINGER_SECONDS="4") as process:
        assert process.stderr is not None
        address = re.search(r"serves on 127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert address is not None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        served = began
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(address[1])), timeout=1) as stranger:
                if stranger.recv(1):
                    served = time.monotonic()
        assert served - began > 0.75, "whoever comes until then is served, though nobody was there before"


def test_it_says_that_it_serves_on_all_addresses_where_it_does() -> None:
    with program(SNAKEPIT_LISTEN="0.0.0.0:0") as process:
        assert process.stderr is not None
        assert "serves on 0.0.0.0:" in process.stderr.readline()


@pytest.mark.parametrize("setting", ["SNAKEPIT_LISTEN", "SNAKEPIT_METRICS_LISTEN", "SNAKEPIT_HEALTH_LISTEN", "SNAKEPIT_LANE_LISTEN"])
def test_a_port_already_taken_is_one_sentence_that_names_port_and_setting(taken: int, setting: str) -> None:
    with program(**{setting: f"127.0.0.1:{taken}"}) as process:
        _, errors = process.communicate(timeout=20)
        last = errors.strip().splitlines()[-1]
        assert process.returncode == 1
        assert f"port {taken}" in last
        assert setting in last
        assert "Traceback" not in errors


def test_wrong_settings_are_named_all_at_once() -> None:
    with program(SNAKEPIT_STORE="mysql://x", SNAKEPIT_LISTEN="nowhere", SNAKEPIT_MAX_PAYLOAD_BYTES="-1") as process:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert [re.split("[=:]", each["message"])[0] for each in log_lines.lines(errors.splitlines())] == [
            "SNAKEPIT_LISTEN",
            "SNAKEPIT_STORE",
            "SNAKEPIT_MAX_PAYLOAD_BYTES",
        ]


def test_strangers_who_fail_at_tls_fill_no_log(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    files = authority.files()
    with program(SNAKEPIT_TLS_CERT_FILE=str(files.certificate), SNAKEPIT_TLS_KEY_FILE=str(files.key)) as process:
        assert process.stderr is not None
        found = re.search(r"serves on 127.0.0.1:(\d+)", process.stderr.readline())
        assert found
        for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x02\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", int(found[1])), 40) as stranger:  # It has ten seconds to speak.
                stranger.sendall(sent)
                with contextlib.suppress(ConnectionError):
                    while stranger.recv(1000):
                        pass
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert [line for line in errors.splitlines() if "stopping" not in line] == []


def test_an_absent_store_does_not_keep_it_from_starting() -> None:
    with program(SNAKEPIT_STORE=f"redis://127.0.0.1:{free_port()}/0") as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]
        assert any("session store is away" in line for line in lines)
        assert any("serves on" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 0
