"""What each room of the gateway gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from snakepit import Client
from snakepit_gateway.callers import Callers
from snakepit_gateway.settings import Settings
from snakepit_gateway.telemetry import Telemetry


@dataclass(frozen=True)
class Gateway:
    """`client` is the gateway's own: requests go through `callers`. `leaving`: it was told to end, and so must answers without an end.

    `beside`: what rooms have open as long as the application runs.
    """

    client: Client
    callers: Callers
    settings: Settings
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    telemetry: Telemetry = field(default_factory=Telemetry)
    beside: list[Callable[[], AbstractAsyncContextManager[None]]] = field(default_factory=list)
