"""What a program says to Prometheus, read as Prometheus' own client library reads it: of one in this process, and of one that serves."""

from __future__ import annotations

import asyncio
import io
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from wsgiref.util import setup_testing_defaults

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from snakepit._telemetry.metrics import TABLE
from snakepit._telemetry.metrics.row import OTHER

ROWS = {row.name: row for row in TABLE}

Series = dict[frozenset[tuple[str, str]], float]


def is_known(name: str, labels: Mapping[str, str]) -> bool:
    """May those labels be so, by the table's row? What has no row isn't ours."""
    row = ROWS.get(name) or ROWS.get(re.sub("_(sum|count|bucket|created)$", "", name))
    return row is None or all(labels[each] in (*values, OTHER) for each, values in row.values.items())


class Scrape:
    """One answer. `found["name", {"label": "value"}]` is the number; KeyError: there is none."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, Series] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                assert is_known(sample.name, sample.labels), f"{sample.name} {sample.labels}: a label has a value that its row doesn't list"
                self._samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def __getitem__(self, asked: tuple[str, Mapping[str, str]]) -> float:
        name, labels = asked
        return self._samples[name][frozenset(labels.items())]

    def names(self, begin: str) -> set[str]:
        """Those of its series that begin so."""
        return {each for each in self._samples if each.startswith(begin)}

    def series(self, name: str, **labels: str) -> Series:
        """Those with these labels, among others."""
        return {each: value for each, value in self._samples.get(name, {}).items() if labels.items() <= set(each)}

    def total(self, name: str, **labels: str) -> float:
        """Of those."""
        return sum(self.series(name, **labels).values())

    def labels(self, name: str, label: str) -> set[str]:
        """What that label is."""
        return {dict(each)[label] for each in self.series(name)}


# ---- of a program that serves


async def scrape(address: str) -> Scrape:
    """Ask there. Raises OSError."""

    def ask() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    return Scrape(await asyncio.to_thread(ask))


async def answered(address: str) -> Any:
    """The first answer there; None: there is none yet."""
    try:
        return await scrape(address)
    except urllib.error.URLError:
        return None


# ---- of what is in this process


async def scraped(application: Callable[..., Any]) -> list[Metric]:
    """The families that a WSGI application answers with, asked in a thread of its own, as a server does."""
    return list(text_string_to_metric_families((await asyncio.to_thread(ask, application))[1].decode()))


def ask(application: Callable[..., Any], accept: str = "", encoding: str = "") -> tuple[str, bytes]:
    """The content type and the body of the answer to one who accepts that."""
    environment: dict[str, Any] = {"HTTP_ACCEPT": accept, "HTTP_ACCEPT_ENCODING": encoding, "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environment)
    told: dict[str, str] = {}

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        assert status == "200 OK", status
        told.update(headers)

    body = b"".join(application(environment, start_response))
    return told["Content-Type"], body
