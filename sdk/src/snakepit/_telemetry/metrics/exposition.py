"""How a scrape is answered: in protobuf for whoever likes that best, else by prometheus_client's application, in text or OpenMetrics."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from typing import Any

from snakepit._telemetry.metrics.protobuf import CONTENT_TYPE, encode

Application = Callable[..., Any]
"""Of WSGI."""

_PROTOBUF = CONTENT_TYPE.partition(";")[0]


def negotiated(collect: Callable[[], Iterable[Any]], text: Application) -> Application:
    """Answers for all of it; `text` has the last word on methods, paths and other forms."""

    def application(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] != "GET" or not prefers_protobuf(environment.get("HTTP_ACCEPT", "")):
            return text(environment, start_response)  # type: ignore[no-any-return]
        body, headers = encode(collect()), [("Content-Type", CONTENT_TYPE)]
        if "gzip" in environment.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", headers)
        return [body]

    return application


def prefers_protobuf(accept: str) -> bool:
    """Is it what an Accept header asks for first? In the form that we have: families one after the other, each behind its length."""
    best = 0.0
    wants: list[tuple[float, bool]] = []
    for each in accept.split(","):
        kind, *parameters = [part.strip() for part in each.split(";")]
        told = dict(part.split("=", 1) for part in parameters if "=" in part)
        quality = _quality(told.get("q", "1"))
        ours = kind == _PROTOBUF and told.get("encoding") == "delimited" and told.get("proto") == "io.prometheus.client.MetricFamily"
        wants.append((quality, ours))
        best = max(best, quality)
    return best > 0 and any(ours and quality == best for quality, ours in wants)


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
