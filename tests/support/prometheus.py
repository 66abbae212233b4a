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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .dev_server import Program, wait_until
from .ports import free_port
from .promtool import debian

Series = dict[str, Any]

EVERY = "1s"
"""Between two scrapes, and between two looks at rules. A scrape that takes longer has failed, and an alert that was to come begins anew."""


def hastened(durations: str) -> str:
    """The same rules, or whatever has durations, for a clock on which a second is as long as their minute."""
    milliseconds = {"s": 1000 / 60, "m": 1000, "h": 60 * 1000, "d": 24 * 60 * 1000}
    return re.sub(r"\b(\d+)([smhd])\b", lambda found: f"{int(found[1]) * milliseconds[found[2]]:.0f}ms", durations)


@dataclass(frozen=True)
class Targets:
    """`jobs`: where each is scraped. `agents`: a file of targets that come and go, which is read again whenever it changes."""

    jobs: Mapping[str, Sequence[str]]
    agents: Path


@dataclass(frozen=True)
class Alerting:
    """The rules, as a PrometheusRule has them, and the address of whom Prometheus tells what fires: an Alertmanager, or nobody."""

    rules: Mapping[str, Any]
    tells: str = ""


def _config(targets: Targets, rules: Path, tells: str) -> dict[str, Any]:
    fixed = [{"job_name": name, "static_configs": [{"targets": list(where)}]} for name, where in targets.jobs.items()]
    moving = {"job_name": "agents", "file_sd_configs": [{"files": [str(targets.agents)]}]}
    every = {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}
    told = {"alertmanagers": [{"static_configs": [{"targets": [tells]}]}]} if tells else {}
    return {"global": every, "rule_files": [str(rules)], "alerting": told, "scrape_configs": [*fixed, moving]}


class Prometheus:
    """`native`: it takes native histograms, and then no classic ones."""

    def __init__(self, folder: Path, targets: Targets, alerting: Alerting, *, native: bool = False) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        rules, config = folder / "rules.yaml", folder / "prometheus.yml"
        rules.write_text(hastened(yaml.safe_dump(dict(alerting.rules), width=1000)))
        config.write_text(yaml.safe_dump(_config(targets, rules, alerting.tells)))
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

    def firing(self, alert: str = "", pool: str = "") -> list[Series]:
        """The alerts that fire now; of that name, about that pool."""
        found = [each for each in self.ask("alerts")["alerts"] if each["state"] == "firing"]
        return [each for each in found if alert in ("", each["labels"]["alertname"]) and pool in ("", each["labels"].get("pool"))]

    def until(self, query: str, seconds: float = 30.0) -> None:
        """There is an answer with a value that isn't 0."""
        wait_until(lambda: any(float(each["value"][1]) for each in self.now(query)), query, seconds)

    def answers(self) -> bool:
        assert self.program.process.poll() is None, self.program.output
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=1).status == 200)
        return False


@contextlib.contextmanager
def prometheus(folder: Path, targets: Targets, alerting: Alerting, *, native: bool = False) -> Iterator[Prometheus]:
    server = Prometheus(folder, targets, alerting, native=native)
    try:
        wait_until(server.answers, "Prometheus is ready")
        yield server
    finally:
        server.program.end()
