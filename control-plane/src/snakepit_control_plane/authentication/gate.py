"""What an agent's and the operator's token allow. Pure; reading and checking tokens is done elsewhere.

A pod can say only that it is itself: the API server wrote its name, namespace and uid into its token, and the operator had the token made
for one pool. So one pool's agent can't pose as another pool's capsule either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from snakepit._wire.protocol import AUDIENCE_DETAIL, TOKEN_DETAIL
from snakepit.errors import PermissionDenied, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.model.caller import Caller

HEADER = "authorization"
SCHEME = "bearer "

MOST_CHARACTERS = 16 * 1024
"""A longer token isn't looked at."""

HELP = "docs/security.md says how a pod, a laptop and a program elsewhere get one"

AUTHENTICATED = "system:authenticated"
"""The group of everybody who is known."""

Metadata = Sequence[tuple[str, str | bytes]]
"""Of an RPC, as its caller sent it."""


@dataclass(frozen=True)
class Identity:
    """What a token that was checked says. A token that is bound to no pod has no `pod` and no `pod_uid`.

    `expires` in seconds since the epoch.
    """

    subject: str
    audiences: tuple[str, ...]
    groups: tuple[str, ...] = ()
    expires: float = math.inf
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""


class Gate:
    """Asked before anybody is believed. This one believes everybody: for local mode, and clusters that want no tokens.

    Another one's methods raise Unauthenticated, PermissionDenied or ServerUnavailable.
    """

    asks_agents: ClassVar[bool] = False
    """Do agents and the operator prove who they are?"""

    async def admit_agent(self, metadata: Metadata, claimed: link_pb2.Capsule) -> None:
        """May this agent be the capsule that it says it is?"""

    async def admit_operator(self, metadata: Metadata) -> None:
        """Is this the operator?"""

    async def identify(self, metadata: Metadata, connection: str, certificate: bytes = b"") -> Caller:
        """Whom calls come from that come by this connection. `certificate`: what its other end has shown, in PEM."""
        return Caller(connection)

    def known(self, token: str) -> Caller | None:
        """Whose a token is, without a wait; None: `identify` must be awaited."""
        return None


def with_bearer(token: str) -> Metadata:
    """What an RPC with that token has."""
    return ((HEADER, f"Bearer {token}"),)


def bearer(metadata: Metadata, who: str, help_: str = "") -> str:
    """The token. Raises Unauthenticated where there is none, and for credentials of another kind."""
    found = next((str(value) for key, value in metadata if key == HEADER), "")
    if found and not found.lower().startswith(SCHEME):
        raise Unauthenticated("the metadata `authorization` must be `Bearer` and a token")
    if not (token := found[len(SCHEME) :].strip()):
        said = f"{who} sent no token: metadata `authorization: Bearer …` is missing{f'; {help_}' if help_ else ''}"
        raise Unauthenticated(said, details={TOKEN_DETAIL: "missing"})
    if len(token) > MOST_CHARACTERS:
        raise Unauthenticated(f"the token has more than {MOST_CHARACTERS} characters")
    if not token.isascii():
        raise Unauthenticated("the token has characters that no token has: only ASCII is allowed")
    return token


def caller(identity: Identity) -> Caller:
    """Who brings a token that says this."""
    return Caller(identity.subject, identity.subject, identity.groups, identity.expires)


def check_agent(identity: Identity, claimed: link_pb2.Capsule, audience: str) -> None:
    """Raises Unauthenticated: the token is for somebody else; PermissionDenied: it is another capsule's."""
    check_audience(identity, audience)
    if f"{audience}/{claimed.pool}" not in identity.audiences:
        raise PermissionDenied(f"capsule {claimed.name} says it is of pool {claimed.pool}, and its token is for {_said(identity)}")
    if not identity.pod:
        raise PermissionDenied(f"the token of {identity.subject} is bound to no pod: use the one that the operator mounts into the agent")
    if claimed.pool.partition("/")[0] != identity.namespace or (claimed.name, claimed.pod_uid) != (identity.pod, identity.pod_uid):
        own = f"{identity.namespace}/{identity.pod} with uid {identity.pod_uid}"
        raise PermissionDenied(f"{claimed.name} of pool {claimed.pool} with uid {claimed.pod_uid or 'none'} has the token of pod {own}")


def check_operator(identity: Identity, audience: str, operator: str) -> None:
    """Raises Unauthenticated, or PermissionDenied for a token of somebody else."""
    check_audience(identity, audience)
    if identity.subject != operator or audience not in identity.audiences:
        who = f"{identity.subject} for {_said(identity)}"
        raise PermissionDenied(f"only the operator may sync pools: that is {operator} for {audience!r}, and this is {who}")


def check_caller(identity: Identity, audience: str) -> None:
    """Raises Unauthenticated: the token is for somebody else, or for an agent."""
    if audience not in identity.audiences:
        raise _not_ours(identity, audience)


def check_audience(identity: Identity, audience: str) -> None:
    """Raises Unauthenticated: the token is for somebody else."""
    if not any(each == audience or each.startswith(f"{audience}/") for each in identity.audiences):
        raise _not_ours(identity, audience)


def _not_ours(identity: Identity, audience: str) -> Unauthenticated:
    said = f"the token is for {_said(identity)}, not for this control plane, whose audience is {audience!r}"
    return Unauthenticated(said, details={TOKEN_DETAIL: "audience", AUDIENCE_DETAIL: audience})


def _said(identity: Identity) -> str:
    return ", ".join(map(repr, identity.audiences)) or "nobody"
