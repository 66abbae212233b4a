"""The command line against a local pool, as a person types it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml

from snakepit.cli.failures import ExitStatus
from support.dev_server import Dev, Program, pool_file, ready_dev, wait_until
from support.ports import free_port

from .conftest import Command

NOBODY = "127.0.0.1:1"
"""An address at which nothing listens. (A parameter must be the same in each process that runs the tests.)"""


def test_call_prints_the_result(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "add", "a=1", "b=2") == (0, "3\n", "")
    assert snakepit("call", "sample", "echo", "value=text")[1] == "text\n"
    assert snakepit("call", "sample", "echo", "value=text", "-o", "json")[1] == '"text"\n'
    assert snakepit("call", "sample", "echo", '{"value": {"a": [1]}}', "-o", "yaml")[1] == "a:\n- 1\n"


def test_whoami_says_that_nobody_is_asked_where_that_is_so(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("whoami") == (0, "ATTRIBUTE   VALUE\nSubject     nobody: who calls is not asked here\n", "")
    assert json.loads(snakepit("whoami", "-o", "json")[1]) == {"subject": "", "groups": [], "expires": None}


def test_what_cant_be_carried_is_a_warning_on_stderr(snakepit) -> None:  # type: ignore[no-untyped-def]
    sentence = "$.odd is a _thread.lock, which can't be carried: a marker stands in its place; "
    code, out, err = snakepit("call", "sample", "odd", "-o", "json")
    assert (code, json.loads(err)["warning"]["message"].startswith(sentence)) == (0, True)
    assert json.loads(out)["fine"] == 1
    assert snakepit("call", "sample", "odd")[2].startswith(f"warning: {sentence}")


def test_calls_are_listed_and_one_is_explained(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "fail", "message=gone")[0] == ExitStatus.RAISED
    code, out, err = snakepit("calls", "sample", "--reason", "TOOL_ERROR", "--tool", "fail", "--limit", "1")
    header, line = out.splitlines()
    assert (code, err) == (0, "")
    assert header.split()[:6] == ["ID", "POOL", "TOOL", "STATE", "REASON", "AGE"]
    id_, *cells = line.split()
    assert cells[:4] == ["default/sample", "fail", "ended", "LookupError"]
    assert "gone" not in out
    assert id_ in snakepit("calls", "--limit", "1000")[1]
    assert snakepit("calls", "sample", "--slow", "1000")[1].count("\n") == 1
    for words in (("explain", id_), ("explain", id_, "sample")):
        code, out, err = snakepit(*words)
        assert (code, err) == (0, "")
        assert re.search(r"^State +ended: TOOL_ERROR, LookupError \(started: yes\)$", out, re.MULTILINE)
        assert re.search(r"^[0-9.]+m?s +sent +sample-\S+/\d$", out, re.MULTILINE)
        assert re.search(r"^[0-9.]+m?s +answered +TOOL_ERROR$", out, re.MULTILINE)
    told = json.loads(snakepit("explain", id_, "-o", "json")[1])
    assert (told["id"], told["reason"], told["events"][-1]["what"]) == (id_, "TOOL_ERROR", "answered")
    assert snakepit("explain", "nobody")[0] == ExitStatus.USAGE


def test_call_streams_piece_by_piece(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "count", "to=3", "--stream") == (0, "0\n1\n2\n", "")


FAILURES = [
    (("call", "sample", "fail", "message=gone"), "LookupError: gone (started: yes, call ", ExitStatus.RAISED),
    (("call", "nowhere", "echo"), "default/nowhere", ExitStatus.USAGE),
    (("call", "sample", "ecko"), "echo", ExitStatus.USAGE),
    (("call", "sample", "add", "a=x"), "argument `a` is a whole number, and 'x' is none: write a=3 (started: no)", ExitStatus.USAGE),
    (("call", "sample", "add", "a"), "key=value", ExitStatus.USAGE),
    (("call", "sample", "sleep", "seconds=20", "--timeout", "0.2"), "(started: ", ExitStatus.TIMEOUT),
    (("call", "sample", "exit", "code=3"), "(started: maybe, call ", ExitStatus.MAY_HAVE_RUN),
    (("call", "sample", "echo", "--server", NOBODY), "(connection refused) (started: no)", ExitStatus.NEVER_STARTED),
    (("session", "get", "sample", "nobody"), "nobody", ExitStatus.USAGE),
    (("drain", "nowhere-0/0"), "nowhere-0/0", ExitStatus.USAGE),
    (("pools", "--server", NOBODY), "is `snakepit dev` running, or is SNAKEPIT_SERVER wrong? (connection refused)", 4),
    (("pools", "--server", "nobody"), "no server is named 'nobody'", ExitStatus.USAGE),
]


@pytest.mark.parametrize(
    ("words", "sentence", "status"), FAILURES, ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else None
)
def test_a_failure_is_one_sentence_on_stderr_and_a_status_that_says_what_may_be_done(  # type: ignore[no-untyped-def]
    snakepit, words: tuple[str, ...], sentence: str, status: int
) -> None:
    code, out, err = snakepit(*words)
    assert (code, out) == (status, "")
    assert sentence in err
    assert err.count("\n") == 1, err


def test_whoever_has_named_no_server_hears_how_a_cluster_is_reached(snakepit, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    hint = "--kube reaches a release in a cluster"
    monkeypatch.setattr("snakepit.cli.target.DEFAULT_SERVER", NOBODY)
    assert hint not in snakepit("pools", "--server", "127.0.0.1:2")[2]
    monkeypatch.delenv("SNAKEPIT_SERVER")
    code, _, err = snakepit("call", "sample", "echo")
    assert (code, err.count(hint), err.count("\n")) == (ExitStatus.NEVER_STARTED, 1, 1), err


def test_a_token_file_that_cant_be_read_is_what_is_said_and_not_that_nobody_answers(  # type: ignore[no-untyped-def]
    snakepit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SNAKEPIT_TOKEN_FILE", str(missing := tmp_path / "token"))
    said = f"snakepit: UNAUTHENTICATED: the token file {missing} can't be read: No such file or directory: mend its path or its mode\n"
    assert snakepit("pools") == (ExitStatus.USAGE, "", said)
    missing.write_bytes(b"\xff")
    assert "can't be read: it is no text" in snakepit("pools")[2]


def test_a_server_that_takes_the_connection_and_says_nothing_has_an_address(snakepit) -> None:  # type: ignore[no-untyped-def]
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        code, _, err = snakepit("pools", "--server", "{}:{}".format(*deaf.getsockname()))
    assert code == ExitStatus.NEVER_STARTED
    assert "the name has no address" not in err
    assert re.search(r"\((nothing has been heard from there|\S+ did not answer the Hello within 5 s)\)$", err.rstrip())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_is_full_behind_a_redirection_is_one_sentence(server: Dev) -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "snakepit.cli", "pools", "--server", server.server]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "snakepit: standard output can't be written: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_result_that_its_file_has_no_room_for_is_one_sentence(snakepit) -> None:  # type: ignore[no-untyped-def]
    code, _, err = snakepit("call", "sample", "add", "a=1", "b=2", "-O", "/dev/full")
    assert code == ExitStatus.MAY_HAVE_RUN
    assert err.startswith("snakepit: INVALID_ARGUMENTS: /dev/full can't be written: No space left on device (started: yes")


def test_a_failure_is_an_object_where_json_was_asked_for(snakepit) -> None:  # type: ignore[no-untyped-def]
    code, out, err = snakepit("call", "sample", "fail", "message=gone", "-o", "json")
    told = json.loads(err)["error"]
    assert (code, out) == (ExitStatus.RAISED, "")
    assert (told["reason"], told["started"], told["type"], told["message"]) == ("TOOL_ERROR", "yes", "LookupError", "gone")
    assert len(told["callId"]) == 16
    assert told["exitCode"] == code
    assert "raise LookupError(message)" in told["traceback"]
    assert snakepit("call", "nowhere", "echo", "-o", "yaml")[2].startswith("---\nerror:\n  reason: POOL_NOT_FOUND\n")


def test_failures_of_the_table_begin_with_their_reason(snakepit) -> None:  # type: ignore[no-untyped-def]
    for words, reason in [
        (("call", "sample", "fail", "message=gone"), "TOOL_ERROR"),
        (("call", "nowhere", "echo"), "POOL_NOT_FOUND"),
        (("call", "sample", "ecko"), "TOOL_NOT_FOUND"),
        (("call", "sample", "add", "a=x"), "INVALID_ARGUMENTS"),
        (("session", "get", "sample", "nobody"), "SESSION_NOT_FOUND"),
        (("pools", "--server", NOBODY), "SERVER_UNAVAILABLE"),
    ]:
        assert snakepit(*words)[2].startswith(f"snakepit: {reason}: "), words


def test_bad_usage_is_exit_2(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample")[0] == 2
    assert snakepit("nonsense")[0] == 2
    assert snakepit("pools", "-o", "xml")[0] == 2


def test_pools_workers_and_tools_are_listed(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert "default/sample" in snakepit("pools")[1]
    assert [each["name"] for each in json.loads(snakepit("pools", "-o", "json")[1])] == ["default/sample", "default/tiny"]
    assert len(json.loads(snakepit("workers", "sample", "-o", "json")[1])) == 4
    assert "The value itself." in snakepit("tools", "sample")[1]
    assert json.loads(snakepit("tools", "sample", "add", "-o", "json")[1])["inputSchema"]["required"] == ["a"]


def test_call_shows_progress_on_stderr(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "steps", "steps=2", "--progress") == (0, "done\n", " 50% step 1\n100% step 2\n")
    both = snakepit("call", "sample", "stages", "steps=2", "--stream", "--progress")
    assert both == (0, "0\n1\n", " 50% step 1\n100% step 2\n")


def test_recycle_replaces_a_worker_while_all_of_them_serve(snakepit) -> None:  # type: ignore[no-untyped-def]
    def workers() -> list[dict[str, str]]:
        return [each for each in json.loads(snakepit("workers", "sample", "-o", "json")[1]) if each["state"] == "ready"]

    victim = workers()[0]
    assert snakepit("recycle", victim["id"]) == (0, "", "")

    def replaced() -> bool:
        found = workers()
        assert len(found) == 4
        return victim["incarnation"] not in [each["incarnation"] for each in found]

    wait_until(replaced, "another process has its place")


def test_a_number_for_a_text_is_text_and_json_is_json_where_that_is_said(server: Dev, snakepit) -> None:  # type: ignore[no-untyped-def]
    code, _, err = snakepit("call", "sample", "say", "text=42")
    assert (code, err) == (0, "")
    server.says("say: 42")
    assert snakepit("call", "sample", "echo", "value=42", "-o", "json")[1] == "42\n"
    assert snakepit("call", "sample", "echo", 'value:="42"', "-o", "json")[1] == '"42"\n'


def test_bytes_go_into_a_file_or_a_pipe_as_they_are(snakepit, tmp_path: Path, server: Dev) -> None:  # type: ignore[no-untyped-def]
    file, data = tmp_path / "out", bytes(range(256)) * 5000
    (tmp_path / "in").write_bytes(data)
    with_key = ("call", "sample", "later", f"value=@{tmp_path}/in")
    assert snakepit(*with_key, "-O", str(file)) == (0, "", "")
    assert file.read_bytes() == data
    piped = subprocess.run([sys.executable, "-m", "snakepit.cli", *with_key, "--server", server.server], capture_output=True, check=True)
    assert piped.stdout == data
    assert json.loads(snakepit(*with_key, "-o", "json")[1]) == base64.b64encode(data).decode()
    assert snakepit("call", "sample", "echo", "value=text", "-O", str(file))[0] == 0
    assert file.read_bytes() == b"text"
    assert snakepit("call", "sample", "count", "to=3", "--stream", "-O", str(file))[0] == 0
    assert file.read_text() == "0\n1\n2\n"


def test_a_file_that_can_not_be_written_is_refused_before_the_call_and_a_failure_leaves_it_alone(snakepit, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, _, err = snakepit("call", "sample", "echo", "-O", str(tmp_path / "nowhere" / "file"))
    assert (code, "can't be written" in err) == (ExitStatus.USAGE, True)
    file = tmp_path / "kept"
    file.write_text("before")
    assert snakepit("call", "sample", "fail", "message=x", "-O", str(file))[0] == ExitStatus.RAISED
    assert file.read_text() == "before"


def test_texts_in_yaml_have_no_end_mark_and_pieces_of_a_stream_are_documents_and_lines(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "echo", "value=text", "-o", "yaml")[1] == "text\n"
    assert list(yaml.safe_load_all(snakepit("call", "sample", "count", "to=3", "--stream", "-o", "yaml")[1])) == [0, 1, 2]
    long = json.dumps({"value": [{"a": "x" * 200}, {"b": 1}]})
    assert snakepit("call", "sample", "echo", long, "-o", "json")[1].count("\n") > 1
    assert snakepit("call", "sample", "count", "to=3", "--stream", "-o", "json")[1] == "0\n1\n2\n"


def test_a_key_makes_a_tool_run_once(snakepit, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "runs"
    words = ("call", "sample", "mark", f"path={file}", "token=ran", "--session", "once", "--idempotency-key", "one")
    assert snakepit(*words)[:2] == (0, "written\n")
    assert snakepit(*words)[:2] == (0, "written\n")
    assert file.read_text() == "ran\n"
    snakepit("session", "delete", "sample", "once")
    assert snakepit("call", "sample", "count", "to=1", "--stream", "--idempotency-key", "a")[0] == ExitStatus.USAGE


def test_arguments_travel_as_the_payload_that_was_asked_for(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "add", "a=1", "--payload", "msgpack")[:2] == (0, "2\n")
    code, _, err = snakepit("call", "sample", "add", "a=1", "--payload", "pickle")
    assert (code, "application/x-python-pickle" in err) == (ExitStatus.USAGE, True)


def test_a_pool_without_a_slash_is_in_the_namespace_that_was_said(snakepit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    assert "no pool 'elsewhere/sample'" in snakepit("tools", "sample", "-n", "elsewhere")[2]
    assert "no pool 'elsewhere/sample'" in snakepit("-n", "elsewhere", "tools", "sample")[2]
    assert snakepit("tools", "default/sample", "-n", "elsewhere")[0] == 0
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "snakepit").mkdir()
    (tmp_path / "snakepit/config.toml").write_text('namespace = "configured"\n')
    assert "no pool 'configured/sample'" in snakepit("tools", "sample")[2]


def test_a_server_is_found_by_its_name(snakepit, server: Dev, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("SNAKEPIT_SERVER")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "snakepit").mkdir()
    (tmp_path / "snakepit/config.toml").write_text(f'server = "here"\n[servers.here]\naddress = "{server.server}"\n')
    assert snakepit("call", "sample", "add", "a=1")[:2] == (0, "2\n")
    assert snakepit("--server", "here", "call", "sample", "add", "a=1")[:2] == (0, "2\n")


def test_tables_have_ages_and_a_name_for_each_column_and_wide_ones_have_more(snakepit) -> None:  # type: ignore[no-untyped-def]
    header, *rows = snakepit("workers", "sample")[1].splitlines()
    assert header.split() == ["ID", "STATE", "BUSY", "SERVED", "RESTARTS", "AGE", "REASON", "MESSAGE"]
    assert len(rows) == 4
    assert all(re.fullmatch(r"\d+[smh]", row.split()[5]) for row in rows), rows
    wide = snakepit("workers", "sample", "-o", "wide")[1].splitlines()[0].split()
    assert {"MEMORY", "PID", "PYTHON", "INCARNATION"} <= set(wide)
    assert "a,b?" in snakepit("tools", "sample")[1]
    snakepit("call", "sample", "remember", "key=a", "value=1", "--session", "tabled")
    row = next(line for line in snakepit("sessions", "sample")[1].splitlines() if line.startswith("tabled"))
    assert row.split()[-1] in ("59m", "1h")
    snakepit("session", "delete", "sample", "tabled")


def test_on_a_terminal_no_line_is_longer_than_it(server: Dev) -> None:
    for width in (40, 80):
        shown = on_a_terminal("workers", "sample", "--server", server.server, columns=width)
        assert len(shown) == 5
        assert shown[0].startswith("ID ")
        assert max(map(len, shown)) <= width, shown
    assert on_a_terminal("call", "sample", "large", "size=5", "--server", server.server, columns=80) == [
        "5 bytes: pipe them, or write them to a file with -O FILE"
    ]


def on_a_terminal(*words: str, columns: int) -> list[str]:
    """The lines that a command shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-m", "snakepit.cli", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux says so when the other end has been closed.
            while data := os.read(ours, 4096):
                shown += data
        process.wait(30)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n").splitlines()


def test_a_call_to_a_pool_that_is_not_ready_says_how_to_wait_and_for_how_long_it_has(tmp_path: Path, typed: Command) -> None:
    with ready_dev(pool_file(tmp_path, "resting", "support.sample:Sample", suspended="true")) as server:
        words = ("call", "resting", "say", "text=7", "--server", server.server)
        code, _, err = typed(*words)
        assert (code, "--wait waits until it is; started: no" in err) == (ExitStatus.NEVER_STARTED, True), err
        code, _, err = typed(*words, "--wait", "0.5")
        assert (code, "waited 0.5 s; started: no" in err) == (ExitStatus.NEVER_STARTED, True), err
        assert err.startswith("waiting: pool default/resting is suspended")


def test_a_call_waits_for_what_has_not_even_been_started_and_a_number_for_a_text_is_a_text_then_too(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    file = pool_file(tmp_path, "late", "support.sample:Sample", replicas="1")
    command = [sys.executable, "-m", "snakepit.cli", "call", "late", "variable", "name=42", "--server", address, "--wait", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert waiting.stdout is not None
        assert json.loads(waiting.stderr.readline())["waiting"]["reason"] == "SERVER_UNAVAILABLE"
        server = Program(sys.executable, "-m", "snakepit.cli", "dev", str(file), "--listen", address)
        try:
            assert waiting.stdout.read() == "null\n"
            assert waiting.wait(30) == 0
        finally:
            server.end()
