"""What a scrape says, read as Prometheus' own client library reads it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families


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
