"""The gate of a control plane that asks for tokens: off the RPC's metadata, checked against their issuers' keys."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from snakepit.errors import Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication.certificates import bearer_of
from snakepit_control_plane.authentication.gate import (
    HEADER,
    HELP,
    Gate,
    Identity,
    Metadata,
    bearer,
    caller,
    check_agent,
    check_caller,
    check_operator,
)
from snakepit_control_plane.authentication.issuers import Issuer
from snakepit_control_plane.authentication.keys import Keys
from snakepit_control_plane.authentication.settings import Authentication
from snakepit_control_plane.authentication.static import StaticTokens
from snakepit_control_plane.authentication.tokens import issuer_of, key_id, person, read, service_account
from snakepit_control_plane.model.caller import Caller

CHECKED_SECONDS = 30.0
"""A token that was right is taken to be so for this long: each stream of a call brings one, and checking it takes 0.2 ms."""

MOST_CHECKED = 4096


class Guarded(Gate):
    """Believes who has the right token. `keys` are the cluster's, `others` those of callers' other issuers."""

    asks_agents = True

    def __init__(
        self,
        wanted: Authentication,
        keys: Keys,
        others: tuple[tuple[Issuer, Keys], ...] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wanted = wanted
        self._keys = keys
        self._others = {issuer.issuer.url: (issuer, theirs) for issuer, theirs in others}
        self._static = StaticTokens(wanted.tokens_file, "SNAKEPIT_AUTH_TOKENS_FILE") if wanted.tokens_file else None
        self._clock, self._wall = clock, wall
        self._checked: dict[tuple[str, str], tuple[Identity, float]] = {}

    async def admit_agent(self, metadata: Metadata, claimed: link_pb2.Capsule) -> None:
        """A stream's own token is asked for at its beginning only: a link outlives the token that opened it."""
        identity = await self._of_cluster(bearer(metadata, f"the agent of capsule {claimed.name}"))
        check_agent(identity, claimed, self._wanted.audience)

    async def admit_operator(self, metadata: Metadata) -> None:
        """See `gate.Gate`."""
        identity = await self._of_cluster(bearer(metadata, "whoever syncs pools"))
        check_operator(identity, self._wanted.audience, self._wanted.operator)

    async def identify(self, metadata: Metadata, connection: str, certificate: bytes = b"") -> Caller:
        """See `gate.Gate`. A token says whose a request is on any connection: whoever shows a certificate may pass on others' calls."""
        if certificate and not any(key == HEADER for key, _ in metadata):
            if (known := bearer_of(certificate)).expires <= self._wall():
                raise Unauthenticated("the client's certificate has expired")
            return caller(known)
        token = bearer(metadata, "the caller", HELP)
        if self._static is not None and (identity := self._static.find(token)) is not None:
            return caller(identity)
        if self._others and (found := self._others.get(issuer_of(token))) is not None:
            return caller(await self._checked_once(token, found[0].issuer.url, lambda: self._of_issuer(token, *found)))
        identity = await self._of_cluster(token)
        check_caller(identity, self._wanted.audience)
        return caller(identity)

    def known(self, token: str) -> Caller | None:
        """See `gate.Gate`: one that was right a moment ago, or doesn't change. Raises ServerUnavailable."""
        if self._static is not None and (identity := self._static.find(token)) is not None:
            return caller(identity)
        for issuer in ("", *self._others):
            if (good := self._good(token, issuer)) is not None and (issuer or self._wanted.audience in good.audiences):
                return caller(good)
        return None

    async def _of_cluster(self, token: str) -> Identity:
        async def look() -> Identity:
            key, issuer = await self._keys.find(key_id(token))
            return service_account(read(token, key, issuer))

        return await self._checked_once(token, "", look)

    async def _of_issuer(self, token: str, issuer: Issuer, keys: Keys) -> Identity:
        key, name = await keys.find(key_id(token))
        return person(read(token, key, name), issuer)

    async def _checked_once(self, token: str, issuer: str, look: Callable[[], Awaitable[Identity]]) -> Identity:
        """`issuer`: who vouches for it; empty: the cluster. What one has vouched for is nothing to the other."""
        if (known := self._good(token, issuer)) is not None:
            return known
        identity = await look()
        if len(self._checked) >= MOST_CHECKED:
            self._checked.clear()
        self._checked[token, issuer] = identity, self._clock() + CHECKED_SECONDS
        return identity

    def _good(self, token: str, issuer: str) -> Identity | None:
        known = self._checked.get((token, issuer))
        return known[0] if known is not None and known[1] > self._clock() and known[0].expires > self._wall() else None
