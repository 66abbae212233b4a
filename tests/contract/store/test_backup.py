"""The commands of docs/operations.md that back the bundled Redis up and restore it, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from snakepit.errors import SessionNotFound
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.server import make_store
from support.pages import blocks
from support.redis_server import RedisServer, binaries

POOL = "default/kept"
PASSWORD = "secret"


def commands(folder: Path) -> list[str]:
    """As they are typed inside the pod, whose volume is that folder."""
    page = [block.text for block in blocks("docs/operations.md", "sh", "Back up and restore") if "exec" in block.text]
    return [re.sub(r"kubectl .* -- sh -c", "sh -c", text).replace("/data", str(folder)) for text in page]


def typed(text: str, folder: Path, server: RedisServer) -> None:
    cli = folder / "valkey-cli"
    cli.write_text(f'#!/bin/sh\nexec {Path(binaries()["redis"]).with_name("redis-cli")} -p {server.port} "$@"\n')
    cli.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "REDIS_PASSWORD": PASSWORD}
    done = subprocess.run(["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("keeps", ["yes", "no"])
async def test_a_session_of_before_the_backup_is_back_and_one_of_after_it_is_not(keeps: str) -> None:
    """With a volume, and without one, where the restarted container finds what the pod has."""
    with tempfile.TemporaryDirectory(prefix="snakepit-redis-") as name:
        folder = Path(name)
        server = RedisServer(binaries()["valkey"], folder, options=("--requirepass", PASSWORD, "--appendonly", keeps))
        back_up, restore = commands(folder)
        server.start()
        store = make_store(f"redis://:{PASSWORD}@{server.address}/0")
        try:
            await store.start()
            await store.create_session(SessionRecord(POOL, "before", "uid", 0.0, 0.0, 600.0, 1), 10)
            typed(back_up, folder, server)
            await store.create_session(SessionRecord(POOL, "after", "uid", 0.0, 0.0, 600.0, 1), 10)
            typed(restore, folder, server)
            await store.close()
            assert server.process is not None
            assert server.process.wait(20) == 0
            server.start()
            store = make_store(f"redis://:{PASSWORD}@{server.address}/0")
            await store.start()
            assert (await store.get_session(POOL, "before")).uid == "uid"
            with pytest.raises(SessionNotFound):
                await store.get_session(POOL, "after")
        finally:
            await store.close()
            server.kill()
