"""Debian's Alertmanager, configured as docs/monitoring.md says, and whoever it tells of alerts."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .dev_server import Program, wait_until
from .pages import blocks
from .ports import free_port
from .prometheus import hastened
from .promtool import debian

PAGE, HEADING = "docs/monitoring.md", "Alerts"

TOLD_SECONDS = 120.0


class Told(NamedTuple):
    """What a receiver was told of an alert last."""

    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Receivers:
    """Everybody whom Alertmanager tells, by a webhook of their own. `told`: the newest word on each alert and pool."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, str], Told] = {}
        self.changed = threading.Condition()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def take(self, receiver: str, notification: Mapping[str, Any]) -> None:
        with self.changed:
            for each in notification["alerts"]:
                labels = each["labels"]
                self.told[labels["alertname"], labels.get("pool", "")] = Told(receiver, each["status"], labels, each["annotations"])
            self.changed.notify_all()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self.take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                take(self.path.strip("/"), json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


class Alertmanager:
    """`team`: what stands for the page's `team/`: the namespace of the pools."""

    def __init__(self, folder: Path, team: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._receivers = Receivers()
        config = folder / "alertmanager.yml"
        config.write_text(self._config(team))
        options = [f"--config.file={config}", f"--storage.path={folder / 'data'}", f"--web.listen-address={self.address}"]
        self._program = Program(debian("prometheus-alertmanager"), *options, "--cluster.listen-address=", "--log.level=warn")

    def _config(self, team: str) -> str:
        """As the page has it, in the tests' time; receivers are where this test listens."""
        (block,) = blocks(PAGE, "yaml", HEADING)
        config = yaml.safe_load(hastened(block.text.replace("team/", f"{team}/")))
        for receiver in config["receivers"]:
            for each in receiver["webhook_configs"]:
                each["url"] = self._receivers.address(receiver["name"])
        return yaml.safe_dump(config)

    def answers(self) -> bool:
        assert self._program.process.poll() is None, self._program.output
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=1).status == 200)
        return False

    def until_told(self, alert: str, pool: str = "", status: str = "firing") -> Told:
        """The newest word on it says so."""
        receivers, key = self._receivers, (alert, pool)
        with receivers.changed:
            there = receivers.changed.wait_for(lambda: key in receivers.told and receivers.told[key].status == status, TOLD_SECONDS)
            assert there, f"nobody was told within {TOLD_SECONDS} s that {alert} of {pool or 'no pool'} is {status}, only {self.told()}"
            return receivers.told[key]

    def told(self) -> list[Told]:
        with self._receivers.changed:
            return list(self._receivers.told.values())

    def end(self) -> None:
        self._program.end()
        self._receivers.end()


@contextlib.contextmanager
def alertmanager(folder: Path, team: str) -> Iterator[Alertmanager]:
    server = Alertmanager(folder, team)
    try:
        wait_until(server.answers, "Alertmanager is ready")
        yield server
    finally:
        server.end()
