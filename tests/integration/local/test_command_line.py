"""The command line against a local pool, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from snakepit.cli.app import run
from snakepit.client.snapshot import FORMAT, Snapshot, Value, encode
from snakepit.sync import Client
from support.dev_server import Dev, wait_until
from support.ports import free_port


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


def test_failures_of_the_table_begin_with_their_reason(snakepit) -> None:  # type: ignore[no-untyped-def]
    for words, reason in [
        (("call", "sample", "fail", "message=gone"), "TOOL_ERROR"),
        (("call", "nowhere", "echo"), "POOL_NOT_FOUND"),
        (("call", "sample", "ecko"), "TOOL_NOT_FOUND"),
        (("call", "sample", "add", "a=x"), "INVALID_ARGUMENTS"),
        (("session", "get", "sample", "nobody"), "SESSION_NOT_FOUND"),
        (("pools", "--server", f"127.0.0.1:{free_port()}"), "SERVER_UNAVAILABLE"),
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
    assert json.loads(snakepit("tools", "sample", "add", "-o", "json")[1])["input_schema"]["required"] == ["a"]


def test_a_session_is_exported_to_a_file_and_imported_under_another_id_and_pool(snakepit, server: Dev, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    values = {"number": 7, "bytes": b"\x00\xff", "array": np.arange(6.0).reshape(2, 3), "empty": None, "ключ": {"a": [1, "b"]}}
    with Client(server.server) as client, client.pool("sample").session("from", ttl_seconds=77.0, metadata={"owner": "me"}) as session:
        for key, value in values.items():
            session.state.set(key, value)
        file = tmp_path / "session.json"
        assert snakepit("session", "export", "sample", "from", "-o", str(file)) == (0, "", "")
        assert snakepit("session", "export", "sample", "from")[1] == file.read_text()
        assert snakepit("session", "import", "tiny", str(file), "--id", "to") == (0, "to\n", "")
        assert snakepit("session", "import", "tiny", str(file)) == (0, "from\n", "")
        made = client.pool("tiny").session("to")
        info = made.info()
        assert (info.ttl_seconds, info.metadata, info.epoch) == (77.0, {"owner": "me"}, 1)
        assert made.state.keys() == sorted(values)
        for key, value in values.items():
            assert np.array_equal(made.state.get(key), value), key
        code, _, err = snakepit("session", "import", "tiny", str(file))
        assert code == 1
        assert "has a session 'from' already" in err
        for name in ("from", "to"):
            assert snakepit("session", "delete", "tiny", name)[0] == 0
        session.delete()


def test_what_is_no_session_file_is_refused_with_a_sentence(snakepit, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "file"
    for text, sentence in [
        ("", "no session file"),
        ("[]", "no session file"),
        ('{"format": "snakepit.dev/session/v9"}', "v9"),
        ('{"format": "snakepit.dev/session/v1"}', "pool"),
        ('{"format": "snakepit.dev/session/v1", "pool": 1}', "no session file"),
    ]:
        file.write_text(text)
        code, out, err = snakepit("session", "import", "sample", str(file))
        assert (code, out) == (1, "")
        assert err.startswith("snakepit: INVALID_ARGUMENTS: ")
        assert sentence in err
        assert err.count("\n") == 1
    assert "No such file" in snakepit("session", "import", "sample", str(tmp_path / "nothing"))[2]
    assert "SESSION_NOT_FOUND" in snakepit("session", "export", "sample", "nobody")[2]


def test_an_import_that_does_not_fit_leaves_nothing_behind(snakepit, server: Dev, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    state = {"fits": Value("application/json", b"1"), "too large": Value("application/json", b'"' + b"x" * 2**20 + b'"')}
    file = tmp_path / "large"
    file.write_bytes(encode(Snapshot(FORMAT, "default/sample", "large", 60.0, {}, state)))
    code, _, err = snakepit("session", "import", "sample", str(file))
    assert code == 1
    assert "STATE_QUOTA" in err
    assert "SESSION_NOT_FOUND" in snakepit("session", "get", "sample", "large")[2]


def test_a_session_is_made_looked_at_moved_and_deleted(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "remember", "key=a", "value=[1]", "--session", "typed")[:2] == (0, "1\n")
    assert json.loads(snakepit("session", "state", "sample", "typed", "-o", "json")[1]) == {"a": [1]}
    assert json.loads(snakepit("session", "get", "sample", "typed", "-o", "json")[1])["epoch"] == 1
    assert "typed" in snakepit("sessions", "sample")[1]
    assert snakepit("session", "rebind", "sample", "typed")[0] == 0
    assert snakepit("session", "delete", "sample", "typed")[0] == 0
    assert snakepit("session", "delete", "sample", "typed")[0] == 1


def test_call_shows_progress_on_stderr(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "steps", "steps=2", "--progress") == (0, "done\n", " 50% step 1\n100% step 2\n")
    code, _, err = snakepit("call", "sample", "count", "to=3", "--stream", "--progress")
    assert (code, err.strip().endswith("give --stream or --progress")) == (1, True)


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
