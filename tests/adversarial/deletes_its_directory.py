"""The one that it stands in."""

from __future__ import annotations

import os
import tempfile

from snakepit import tool

OUTCOME = "value: null"


@tool
def deletes_its_directory() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
