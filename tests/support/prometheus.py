"""A real Prometheus of a test's own: it scrapes what the test runs, keeps exemplars, and evaluates the chart's alerts."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .dev_server import Program, wait_until
from .ports import free_port
from .promtool import RULES, debian

Series = dict[str, Any]

EVERY = "500ms"
"""Between two scrapes, and between two looks at rules."""


def hastened(rules: str) -> str:
    """The same rules for a clock on which a second is as long as their minute."""
    seconds = {"m": 1, "h": 60, "d": 24 * 60}
    return re.sub(r"\b(\d+)([mhd])\b", lambda found: f"{int(found[1]) * seconds[found[2]]}s", rules)


def _config(jobs: Mapping[str, Sequence[str]], agents: Path, rules: Path) -> dict[str, Any]:
    fixed = [{"job_name": name, "static_configs": [{"targets": list(targets)}]} for name, targets in jobs.items()]
    moving = {"job_name": "agents", "file_sd_configs": [{"files": [str(agents)]}]}
    every = {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}
    return {"global": every, "rule_files": [f"{rules}/*.yaml"], "scrape_configs": [*fixed, moving]}


class Prometheus:
    """`jobs`: where each is scraped. `agents` is a file of targets that come and go: it is read again whenever it changes.

    `native`: it takes native histograms, and then no classic ones.
    """

    def __init__(self, folder: Path, jobs: Mapping[str, Sequence[str]], agents: Path, *, native: bool = False) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        rules = folder / "rules"
        rules.mkdir()
        for each in RULES:
            (rules / each.name).write_text(hastened(each.read_text()))
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(_config(jobs, agents, rules)))
        features = "exemplar-storage,native-histograms" if native else "exemplar-storage"
        options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={self.address}"]
        self.program = Program(debian("prometheus"), *options, "--log.level=warn", f"--enable-feature={features}")

    # ---- what it answers

    def ask(self, path: str, **parameters: object) -> Any:
        """`data` of its HTTP API. Fails with its words where it refuses."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def now(self, query: str) -> list[Series]:
        return list(self.ask("query", query=query)["result"])

    def since(self, began: float, query: str) -> list[Series]:
        """What has come of it since then, by the second."""
        return list(self.ask("query_range", query=query, start=began, end=time.time(), step="1s")["result"])

    def exemplars(self, began: float, query: str) -> list[Series]:
        """Those of the series that it selects: labels and value of each."""
        found = self.ask("query_exemplars", query=query, start=began, end=time.time())
        return [exemplar for each in found for exemplar in each["exemplars"]]

    def firing(self) -> dict[str, Series]:
        """The alerts that fire now, by name."""
        return {each["labels"]["alertname"]: each for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}

    def until(self, query: str, seconds: float = 30.0) -> None:
        """There is an answer with a value that isn't 0."""
        wait_until(lambda: any(float(each["value"][1]) for each in self.now(query)), query, seconds)

    def until_firing(self, alert: str, seconds: float = 40.0) -> Series:
        wait_until(lambda: alert in self.firing(), f"{alert} fires", seconds)
        return self.firing()[alert]

    def answers(self) -> bool:
        assert self.program.process.poll() is None, self.program.output
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=1).status == 200)
        return False


@contextlib.contextmanager
def prometheus(folder: Path, jobs: Mapping[str, Sequence[str]], agents: Path, *, native: bool = False) -> Iterator[Prometheus]:
    server = Prometheus(folder, jobs, agents, native=native)
    try:
        wait_until(server.answers, "Prometheus is ready")
        yield server
    finally:
        server.program.end()
