"""Owns where the programs written in Go are that a release needs: hack/go_tools.py finds or builds each."""

import functools

import go_tools
from localcluster.shell import Failure


@functools.cache
def path(name: str) -> str:
    """Of that program. Raises Failure where it can't be had."""
    tool = go_tools.TOOLS[name]
    try:
        return str(go_tools.find(tool) or go_tools.build(tool))
    except go_tools.NoTool as error:
        raise Failure(str(error)) from error
