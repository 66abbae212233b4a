"""Callers of a replica that asks for tokens and rights."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from snakepit._wire.trust import Trust
from support.issuer import AUDIENCE, pod_claims, signed
from support.simulated_agent import POOL, SimulatedAgent

ADA, BOB, OBSERVER = "system:serviceaccount:shop:ada", "system:serviceaccount:shop:bob", "observer"
GATEWAY = "system:serviceaccount:shop:gateway"


def token(subject: str, **claims: object) -> str:
    return signed(pod_claims("web-0", "shop/none", **{"aud": [AUDIENCE], "sub": subject, **claims}))


def put(path: Path, text: str) -> Path:
    """As the kubelet does it: the old one, or the new one, and never half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    return new.replace(path)


@contextlib.asynccontextmanager
async def known_agent(
    address: str, folder: Path, pool: str = POOL, name: str = "test-0", trust: Trust | None = None
) -> AsyncIterator[SimulatedAgent]:
    """An agent with its pod's token."""
    file = put(folder / name, signed(pod_claims(name, pool)))
    made = await SimulatedAgent(address, name=name, pool=pool, pod_uid="pod-uid", token_file=file, trust=trust).start()
    try:
        yield made
    finally:
        await made.stop()
