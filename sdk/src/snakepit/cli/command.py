"""What each command has in common: what is missing is explained by its own help, and not only named."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand


class Command(TyperCommand):
    """One of ours."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer's own types are not public
        """Raise BadParameter for what is missing or wrong."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if not error.message and isinstance(error.param, TyperArgument):
                error.message = error.param.help or ""
            raise
