"""Panels that every dashboard has some of: how many a second, and how slow the slowest are, by a label."""

from __future__ import annotations

from collections.abc import Callable

from dashboards.panels import Panel, Query
from dashboards.promql import quantile, rate, seen_rate

Form = Callable[[str, str, str], str]


def rates(title: str, text: str, metric: str, by: str, where: str = "", *, unit: str = "ops", width: int = 8, form: Form = rate) -> Panel:
    """How many a second, by a label, or several: the parts of one whole. `form`: how the metric is asked for it."""
    return Panel(title, text, [Query(form(metric, by, where), _legend(by))], unit=unit, width=width, stacked=True)


def slowest(title: str, text: str, metric: str, by: str, where: str = "", *, legend: str = "", exemplars: bool = False) -> Panel:
    """The p99 of a histogram of seconds, by a label."""
    return Panel(title, text, [Query(quantile(0.99, metric, by, where), legend or _legend(by), exemplars=exemplars)], unit="s")


def ended_lives(where: str) -> Panel:
    """Of workers, by what ended them."""
    text = "By reason: crashed, oom, recycled, evicted, lost."
    return rates("Ended lives of workers", text, "snakepit_worker_restarts_total", "reason", where, form=seen_rate)


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
