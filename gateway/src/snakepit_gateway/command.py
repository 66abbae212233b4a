"""`snakepit mcp POOL`. It loads what it needs when it runs: the command line reads this module for every command."""

from __future__ import annotations

from typing import Annotated

import typer

from snakepit.cli.target import PoolArgument, Target, with_target


@with_target
def mcp(
    target: Target,
    pool: PoolArgument,
    sessions: Annotated[bool, typer.Option(help="Offer the tool `open_session`, and let the others take a session.")] = True,
) -> None:
    """Serve a pool's tools to an MCP client on stdin and stdout: the client starts this program itself."""
    from snakepit_gateway.mcp.stdio import serve

    target.run(lambda client: serve(client, target.pool(pool), sessions=sessions))
