"""What a program of ours is told by its environment: each variable by its parser, and all problems named at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from snakepit._wire.targets import parse_target
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


# ---- What several programs are told, as it is read. Each raises ValueError with a sentence.


def address(text: str) -> str:
    """host:port."""
    parse_target(text)
    return text


def address_or_off(text: str) -> str | None:
    """None: nowhere."""
    return None if text == "off" else address(text)


def port(text: str) -> int:
    """0: none."""
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: write 1 to 65535, or 0 for none")
    return int(text)


def whole_number(text: str) -> int:
    """0 or more."""
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def positive_number(text: str) -> int:
    """A whole one."""
    value = int(text) if text.isdecimal() else 0
    if value <= 0:
        raise ValueError(f"{text!r} is not a whole number above 0")
    return value


def seconds(text: str) -> float:
    """0 or more, and not for ever."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def words(text: str) -> tuple[str, ...]:
    """With commas between."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def on_or_off(text: str) -> bool:
    """Is it on?"""
    if text not in ("on", "off"):
        raise ValueError(f"{text!r}: use on or off")
    return text == "on"
