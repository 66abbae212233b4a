"""What a program says to Prometheus, as numbers that a test asks for by name and labels."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Series = dict[frozenset[tuple[str, str]], float]


class Scrape:
    """One answer. `found["name", {"label": "value"}]` is the number; KeyError: there is none."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, Series] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def __getitem__(self, asked: tuple[str, Mapping[str, str]]) -> float:
        name, labels = asked
        return self._samples[name][frozenset(labels.items())]

    def series(self, name: str, **labels: str) -> Series:
        """Those with these labels, among others."""
        return {each: value for each, value in self._samples.get(name, {}).items() if labels.items() <= set(each)}

    def total(self, name: str, **labels: str) -> float:
        """Of those."""
        return sum(self.series(name, **labels).values())

    def labels(self, name: str, label: str) -> set[str]:
        """What that label is."""
        return {dict(each)[label] for each in self.series(name)}


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
