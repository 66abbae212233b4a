"""Sessions on the command line, as a person types it: made, moved, exported and imported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from snakepit.cli.failures import ExitStatus
from snakepit.client.snapshot import FORMAT, Snapshot, Value, encode
from snakepit.sync import Client
from support.dev_server import Dev


def test_a_session_is_exported_to_a_file_and_imported_under_another_id_and_pool(snakepit, server: Dev, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    values = {"number": 7, "bytes": b"\x00\xff", "array": np.arange(6.0).reshape(2, 3), "empty": None, "ключ": {"a": [1, "b"]}}
    with Client(server.server) as client, client.pool("sample").session("from", ttl_seconds=77.0, metadata={"owner": "me"}) as session:
        for key, value in values.items():
            session.state.set(key, value)
        file = tmp_path / "session.json"
        assert snakepit("session", "export", "sample", "from", "-O", str(file)) == (0, "", "")
        assert snakepit("session", "export", "sample", "from")[1] == file.read_text() + "\n"
        assert json.loads(file.read_text())["ttlSeconds"] == 77.0
        assert snakepit("session", "import", "tiny", str(file), "--id", "to") == (0, "to\n", "")
        assert snakepit("session", "import", "tiny", str(file)) == (0, "from\n", "")
        made = client.pool("tiny").session("to")
        info = made.info()
        assert (info.ttl_seconds, info.metadata, info.epoch) == (77.0, {"owner": "me"}, 1)
        assert made.state.keys() == sorted(values)
        for key, value in values.items():
            assert np.array_equal(made.state.get(key), value), key
        code, _, err = snakepit("session", "import", "tiny", str(file))
        assert code == ExitStatus.USAGE
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
        assert (code, out) == (ExitStatus.USAGE, "")
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
    assert code == ExitStatus.NEVER_STARTED
    assert "STATE_QUOTA" in err
    assert "SESSION_NOT_FOUND" in snakepit("session", "get", "sample", "large")[2]


def test_a_session_is_made_looked_at_moved_and_deleted(snakepit) -> None:  # type: ignore[no-untyped-def]
    assert snakepit("call", "sample", "remember", "key=a", "value=[1]", "--session", "typed")[:2] == (0, "1\n")
    assert json.loads(snakepit("session", "state", "sample", "typed", "-o", "json")[1]) == {"a": [1]}
    assert json.loads(snakepit("session", "get", "sample", "typed", "-o", "json")[1])["epoch"] == 1
    assert "typed" in snakepit("sessions", "sample")[1]
    assert snakepit("session", "rebind", "sample", "typed")[0] == 0
    assert snakepit("session", "delete", "sample", "typed")[0] == 0
    assert snakepit("session", "delete", "sample", "typed")[0] == ExitStatus.USAGE
