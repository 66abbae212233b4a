"""The gate of a control plane that asks for tokens: off the RPC's metadata, checked against the issuer's keys."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from snakepit.errors import ServerUnavailable, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication.gate import Gate, Identity, Metadata, check_agent, check_audience, check_operator
from snakepit_control_plane.authentication.keys import Keys
from snakepit_control_plane.authentication.settings import Authentication
from snakepit_control_plane.authentication.tokens import key_id, read

HEADER = "authorization"
SCHEME = "bearer "

CHECKED_SECONDS = 30.0
"""A token that was right is taken to be so for this long: each stream of a call brings one, and checking it takes 0.2 ms."""

MOST_CHECKED = 4096

IDENTIFY_SECONDS = 1.0
"""So long may a client's call wait for keys that its token needs, and not at all while they can't be fetched."""

log = logging.getLogger(__name__)


class Guarded(Gate):
    """Believes who has the right token."""

    def __init__(self, wanted: Authentication, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted = wanted
        self._keys = keys
        self._clock = clock
        self._checked: dict[str, tuple[Identity, float]] = {}

    async def admit_agent(self, metadata: Metadata, claimed: link_pb2.Capsule) -> None:
        """A stream's own token is asked for at its beginning only: a link outlives the token that opened it."""
        identity = await self._identity(_bearer(metadata), f"the agent of capsule {claimed.name}")
        check_agent(identity, claimed, self._wanted.audience)

    async def admit_operator(self, metadata: Metadata) -> None:
        """See `gate.Gate`."""
        identity = await self._identity(_bearer(metadata), "whoever syncs pools")
        check_operator(identity, self._wanted.audience, self._wanted.operator)

    async def identify(self, metadata: Metadata) -> str:
        """A token that is not right, or can't be checked now, is as good as none: its bearer takes turns as a connection."""
        try:
            if not (token := _bearer(metadata)):
                return ""
            async with asyncio.timeout(0 if self._keys.are_away else IDENTIFY_SECONDS):
                identity = await self._identity(token, "a client")
            check_audience(identity, self._wanted.audience)
        except (Unauthenticated, ServerUnavailable, TimeoutError) as error:
            log.debug("a client is known by its connection alone: %s", error)
            return ""
        return identity.subject

    async def _identity(self, token: str, who: str) -> Identity:
        if not token:
            raise Unauthenticated(f"{who} sent no token: metadata `authorization: Bearer …` is missing")
        known = self._checked.get(token)
        if known is not None and known[1] > self._clock():
            return known[0]
        key, issuer = await self._keys.find(key_id(token))
        identity = read(token, key, issuer)
        if len(self._checked) >= MOST_CHECKED:
            self._checked.clear()
        self._checked[token] = identity, self._clock() + CHECKED_SECONDS
        return identity


def _bearer(metadata: Metadata) -> str:
    """The token, empty: there is none. Raises Unauthenticated for credentials of another kind."""
    found = next((str(value) for key, value in metadata if key == HEADER), "")
    if found and not found.lower().startswith(SCHEME):
        raise Unauthenticated("the metadata `authorization` must be `Bearer` and a token")
    return found[len(SCHEME) :].strip()
