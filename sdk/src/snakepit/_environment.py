"""What a program of ours is told by its environment: each variable by its parser, and all problems named at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from snakepit.errors import InvalidArguments

T = TypeVar("T")


class InvalidSettings(ValueError):
    """The environment can't be used; the message has a line for each problem."""


class Environment:
    """Reads variables, and collects `problems` instead of stopping at the first; an empty variable is none."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._variables = variables

    def __call__(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """The variable as `parse` reads it, which raises ValueError or InvalidArguments with a sentence. What is wrong is the default."""
        try:
            return parse(text) if (text := self._variables.get(name, "")) else default
        except (ValueError, InvalidArguments) as error:
            self.problems.append(f"{name}: {error}")
            return default

    def required(self, name: str, parse: Callable[[str], T]) -> T:
        """One that has no default. What it gives where the variable is wrong must not be used: `check` raises before that."""
        if not self._variables.get(name):
            self.problems.append(f"{name}: it is not set, and has no default")
        return self(name, parse, None)  # type: ignore[return-value]

    def check(self) -> None:
        """Raises InvalidSettings."""
        if self.problems:
            raise InvalidSettings("\n".join(self.problems))
