"""`snakepit --kube connect`: a forward that stays, for programs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from snakepit.cli.reach import Reach, reaching
from snakepit.errors import InvalidArguments, ServerUnavailable


@reaching
def connect(
    reach: Reach,
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The local port; 0: any that is free.")] = 0,
) -> None:
    """Forward a port to the release in a cluster, print what programs need to be told, and stay until Ctrl-C."""
    if reach.target.kube is None:
        raise InvalidArguments("connect forwards a port to a cluster: give --kube, or --server with a name whose entry has kube")
    from snakepit.cli.kube import forwarded

    with forwarded(reach.target.kube, port) as forward:
        # A lane is at its replica's own address, which no forward leads to.
        print(f"export SNAKEPIT_SERVER={forward.address} SNAKEPIT_LANES=off", flush=True)
        print("forwarding until Ctrl-C; paste the line above where your programs run", file=sys.stderr, flush=True)
        raise ServerUnavailable(forward.wait())
