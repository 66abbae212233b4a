"""The gate of a control plane on one machine whose callers bring tokens of a file: its own agents have one that was made up for them."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from snakepit.errors import PermissionDenied, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication.gate import HELP, Gate, Metadata, bearer, caller
from snakepit_control_plane.authentication.static import StaticTokens
from snakepit_control_plane.model.caller import Caller

OWN = "snakepit dev"
"""The subject of what one machine has started by itself."""


@dataclass(frozen=True)
class LocalTokens:
    """Of a control plane on one machine: `file` has its callers' tokens, and `own` is that of its agents, and of whoever started it."""

    file: str
    own: str = field(default_factory=secrets.token_urlsafe, repr=False)


class LocalGate(Gate):
    """Believes who has a token of the file, and agents that this machine has started."""

    asks_agents = True

    def __init__(self, tokens: LocalTokens) -> None:
        self._static = StaticTokens(tokens.file, "--token-file")
        self._own = tokens.own.encode()

    async def admit_agent(self, metadata: Metadata, claimed: link_pb2.Capsule) -> None:
        """See `gate.Gate`."""
        self._admit(metadata, f"the agent of capsule {claimed.name}")

    async def admit_operator(self, metadata: Metadata) -> None:
        """See `gate.Gate`."""
        self._admit(metadata, "whoever syncs pools")

    async def identify(self, metadata: Metadata, connection: str, certificate: bytes = b"") -> Caller:
        """See `gate.Gate`."""
        if (found := self.known(bearer(metadata, "the caller", HELP))) is None:
            raise Unauthenticated("the token is none of --token-file's")
        return found

    def known(self, token: str) -> Caller | None:
        """See `gate.Gate`. Raises ServerUnavailable."""
        if self._is_own(token):
            return Caller(OWN, OWN)
        return caller(identity) if (identity := self._static.find(token)) is not None else None

    def _admit(self, metadata: Metadata, who: str) -> None:
        if not self._is_own(bearer(metadata, who)):
            raise PermissionDenied(f"{who} has a token that `snakepit dev` has not given it")

    def _is_own(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._own)
