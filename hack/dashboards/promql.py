"""The few forms of PromQL that the panels use, so that each is right in one place. `where` selects series, `by` names the labels kept."""

from __future__ import annotations

from dashboards.panels import Query

WINDOW = "$__rate_interval"


def rate(metric: str, by: str = "", where: str = "") -> str:
    """How many a second, of a counter, over all replicas."""
    return f"sum{_by(by)} (rate({metric}{_where(where)}[{WINDOW}]))"


def observed(metric: str, by: str = "", where: str = "") -> str:
    """How many observations a second, of a histogram of whichever kind the scraper keeps (see `quantile`)."""
    native = f"sum{_by(by)} (histogram_count(rate({metric}{_where(where)}[{WINDOW}])))"
    return f"{rate(f'{metric}_count', by, where)} or {native}"


def total(metric: str, by: str = "", where: str = "") -> str:
    """Of a gauge of which each replica has a part."""
    return f"sum{_by(by)} ({metric}{_where(where)})"


def seen(metric: str, by: str = "", where: str = "") -> str:
    """Of a gauge that every replica says of the whole: the largest, as one that has just started knows less."""
    return f"max{_by(by)} ({metric}{_where(where)})"


def summed(metric: str, by: str = "", where: str = "", over: str = "pool") -> str:
    """Such gauges of several pools (or of what `over` names), together."""
    return f"sum{_by(by)} ({seen(metric, over, where)})"


def seen_rate(metric: str, by: str = "", where: str = "") -> str:
    """How many a second, over pools, of what every replica counts of each."""
    over = f"pool, {by}" if by else "pool"
    return f"sum{_by(by)} (max by ({over}) (sum by ({over}, job, instance) (rate({metric}{_where(where)}[{WINDOW}]))))"


def share(part: str, whole: str) -> str:
    """Of the whole; 0 where there is no such part, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """Of a histogram, whichever kind the scraper keeps: buckets as series of their own, or native."""
    classic = f"sum{_by(f'le, {by}' if by else 'le')} (rate({metric}_bucket{_where(where)}[{WINDOW}]))"
    native = f"sum{_by(by)} (rate({metric}{_where(where)}[{WINDOW}]))"
    return f"histogram_quantile({share}, {classic}) or histogram_quantile({share}, {native})"


def quantiles(metric: str, where: str = "") -> list[Query]:
    """The half, and one in a hundred."""
    return [Query(quantile(0.5, metric, where=where), "p50"), Query(quantile(0.99, metric, where=where), "p99", exemplars=True)]


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def _where(selectors: str) -> str:
    return f"{{{selectors}}}" if selectors else ""
