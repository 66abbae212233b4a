"""What each room of the gateway gets."""

from __future__ import annotations

from dataclasses import dataclass

from snakepit import Client
from snakepit_gateway.callers import Callers
from snakepit_gateway.settings import Settings


@dataclass(frozen=True)
class Gateway:
    """`client` is the gateway's own: for requests it is asked for through `callers` only."""

    client: Client
    callers: Callers
    settings: Settings
