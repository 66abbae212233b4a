"""`import snakepit`: the author's names at once, the caller's when first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import snakepit
from snakepit import _extras

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("grpc", "google"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
import snakepit
print(snakepit.Adapter.__name__)
try:
    snakepit.Client
except ImportError as error:
    print(error)
"""


def test_every_public_name_is_there() -> None:
    for name in [*snakepit.__all__, "Client", "Pool", "Session", "sync"]:
        assert getattr(snakepit, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        snakepit.Clint  # noqa: B018


def test_without_grpc_authors_can_work_and_callers_are_told_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], check=True, capture_output=True, text=True, timeout=30)
    adapter, sentence = done.stdout.splitlines()
    assert adapter == "Adapter"
    assert sentence.endswith(f" is missing, which callers of pools need. {_extras.CLIENT}")
