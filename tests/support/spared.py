"""An adapter that notes what a process runs of it, and draws numbers that must differ from process to process."""

from __future__ import annotations

import atexit
import os
import random
import secrets
import uuid
from pathlib import Path

from snakepit import Adapter, tool


def _note(event: str) -> None:
    with Path(os.environ["SPARED_NOTE"]).open("a") as file:
        file.write(f"{event} {os.getpid()}\n")


_note("import")
atexit.register(_note, "exit")
random.random()


class Spared(Adapter):
    def __init__(self) -> None:
        _note("make")

    def setup(self) -> None:
        _note("setup")

    @tool
    def draw(self) -> list[str]:
        """In each way that a program draws its tokens."""
        return [str(random.random()), secrets.token_hex(), str(uuid.uuid4()), os.urandom(8).hex()]
