"""Rows of docs/environment.md, made of the docstrings of settings."""

from __future__ import annotations

from dataclasses import dataclass, field

import environment
import pytest


@dataclass
class Settings:
    needed: str
    """What has to be said (SNAKEPIT_NEEDED)."""
    port: int = 7802
    """Where it listens (SNAKEPIT_PORT), see docs/operations.md#limits. The chart says 1."""
    files: tuple[str, ...] = ("a", "b")
    """TLS of all of it: a certificate and its key, and which of them is shown (SNAKEPIT_CERT_FILE, SNAKEPIT_KEY_FILE and
    SNAKEPIT_SHOWN)."""
    memory: int = 5
    """A sum (SNAKEPIT_LARGE_BYTES, by default half of the limit)."""
    console: bool = True
    """`off`: none (SNAKEPIT_CONSOLE)."""
    more: list[str] = field(default_factory=list)
    """Either a | or b (SNAKEPIT_MORE)."""
    own: int = 3
    """It is told by nobody (but somebody may ask)."""
    bare: int = 3


def test_each_field_that_names_its_variables_is_a_row() -> None:
    wanted = {"SNAKEPIT_LARGE_BYTES"}
    assert [environment.written(row, wanted) for row in environment.rows(Settings)] == [
        "| `SNAKEPIT_NEEDED` | required | what has to be said |\n",
        "| `SNAKEPIT_PORT` | 7802 | where it listens, see [operations](operations.md#limits). The chart says 1 |\n",
        "| `SNAKEPIT_CERT_FILE`, `SNAKEPIT_KEY_FILE`, `SNAKEPIT_SHOWN` | `a,b` "
        "| TLS of all of it: a certificate and its key, and which of them is shown |\n",
        "| **`SNAKEPIT_LARGE_BYTES`** | half of the limit | a sum |\n",
        "| `SNAKEPIT_CONSOLE` | on | `off`: none |\n",
        "| `SNAKEPIT_MORE` | \N{EN DASH} | either a \\| or b |\n",
    ]


@pytest.mark.parametrize(
    ("default", "shown"), [(2.0, "2"), (0.5, "0.5"), (0, "0"), ("", "\N{EN DASH}"), ((), "\N{EN DASH}"), (False, "off")]
)
def test_a_default_is_shown_as_it_would_be_set(default: object, shown: str) -> None:
    assert environment._shown(default) == shown  # noqa: SLF001
