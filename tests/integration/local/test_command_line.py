"""The command line against a local pool, as a person types it."""

from __future__ import annotations

import json

import pytest

from snakepit.cli.app import run
from support.dev_server import Dev, free_port


@pytest.fixture
def snakepit(server: Dev, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("SNAKEPIT_SERVER", server.server)

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_call_prints_the_result(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "add", "a=1", "b=2") == (0, "3\n", "")
    assert snakepit("call", "sample", "echo", "value=text")[1] == "text\n"
    assert snakepit("call", "sample", "echo", "value=text", "-o", "json")[1] == '"text"\n'
    assert snakepit("call", "sample", "echo", '{"value": {"a": [1]}}', "-o", "yaml")[1] == "a:\n- 1\n"


def test_what_cant_be_carried_is_a_warning_on_stderr(snakepit) -> None:  # type: ignore[no-untyped-def]
    sentence = "warning: $.odd is a _thread.lock, which can't be carried: a marker stands in its place\n"
    code, out, err = snakepit("call", "sample", "odd", "-o", "json")
    assert (code, err) == (0, sentence)
    assert json.loads(out)["fine"] == 1


def test_call_streams_piece_by_piece(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "count", "to=3", "--stream") == (0, "0\n1\n2\n", "")


def test_failures_are_one_sentence_on_stderr_and_exit_1(snakepit) -> None:  # type: ignore[no-untyped-def]
    for words, sentence in [
        (("call", "sample", "fail", "message=gone"), "LookupError: gone"),
        (("call", "nowhere", "echo"), "default/nowhere"),
        (("call", "sample", "ecko"), "echo"),
        (("call", "sample", "add", "a=x"), "`a`"),
        (("call", "sample", "add", "a"), "key=value"),
        (("session", "get", "sample", "nobody"), "nobody"),
        (("drain", "nowhere-0/0"), "nowhere-0/0"),
        (("pools", "--server", f"127.0.0.1:{free_port()}"), "is `snakepit dev` running"),
    ]:
        code, out, err = snakepit(*words)
        assert (code, out) == (1, ""), words
        assert sentence in err
        assert err.count("\n") == 1, err


def test_bad_usage_is_exit_2(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample")[0] == 2
    assert snakepit("nonsense")[0] == 2
    assert snakepit("pools", "-o", "xml")[0] == 2


def test_pools_workers_and_tools_are_listed(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert "default/sample" in snakepit("pools")[1]
    assert [each["name"] for each in json.loads(snakepit("pools", "-o", "json")[1])] == ["default/sample", "default/tiny"]
    assert len(json.loads(snakepit("workers", "sample", "-o", "json")[1])) == 4
    assert "The value itself." in snakepit("tools", "sample")[1]
    assert json.loads(snakepit("tools", "sample", "add", "-o", "json")[1])["input_schema"]["required"] == ["a"]


def test_a_session_is_made_looked_at_moved_and_deleted(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "remember", "key=a", "value=[1]", "--session", "typed")[:2] == (0, "1\n")
    assert json.loads(snakepit("session", "state", "sample", "typed", "-o", "json")[1]) == {"a": [1]}
    assert json.loads(snakepit("session", "get", "sample", "typed", "-o", "json")[1])["epoch"] == 1
    assert "typed" in snakepit("sessions", "sample")[1]
    assert snakepit("session", "rebind", "sample", "typed")[0] == 0
    assert snakepit("session", "delete", "sample", "typed")[0] == 0
    assert snakepit("session", "delete", "sample", "typed")[0] == 1
