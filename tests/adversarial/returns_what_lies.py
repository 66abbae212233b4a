"""About its class, its length and its text."""

from __future__ import annotations

from snakepit import tool

OUTCOME = 'value: {"a": 1}'


@tool
def returns_what_lies() -> object:
    class Liar(dict[str, int]):
        def __len__(self) -> int:
            raise ValueError("no length")

        def __iter__(self) -> object:  # type: ignore[override]
            raise ValueError("no keys")

        __repr__ = __str__ = __iter__  # type: ignore[assignment]

    return Liar(a=1)
