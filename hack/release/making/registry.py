"""Owns the registry on loopback that a release is made against: a real one, Distribution, with a folder for its data."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from localcluster.shell import ENDS_WITH_US, Failure, tail

from making import tools

START_SECONDS = 30.0
END_SECONDS = 10.0


def configuration(data: Path, address: str) -> dict[str, object]:
    """Distribution's, in JSON, which is YAML, too."""
    return {
        "version": 0.1,
        "log": {"level": "info", "formatter": "json"},
        "storage": {"filesystem": {"rootdirectory": str(data)}, "maintenance": {"uploadpurging": {"enabled": False}}},
        "http": {"addr": address},
    }


@contextmanager
def running(folder: Path, address: str) -> Iterator[str]:
    """A registry without TLS at that address, which keeps all in that folder, for as long as the context."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, log = folder / "registry.json", folder / "registry.log"
    settings.write_text(json.dumps(configuration(folder / "data", address)))
    with log.open("wb") as file:
        command = [*ENDS_WITH_US, tools.path("registry"), "serve", str(settings)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        _wait(process, address, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failure(f"The registry at {address} did not start.\n{tail(log)}")
        time.sleep(0.05)


def _answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/v2/", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
