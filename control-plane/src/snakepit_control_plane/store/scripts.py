"""The Lua scripts beside this file, each with the prelude before it, and the hash by which Redis knows it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "lua"


@dataclass(frozen=True)
class Script:
    name: str
    text: str
    sha: str


def load() -> dict[str, Script]:
    prelude = (_FOLDER / "prelude.lua").read_text()
    found = {}
    for path in sorted(_FOLDER.glob("*.lua")):
        if path.stem != "prelude":
            text = f"{prelude}\n{path.read_text()}"
            found[path.stem] = Script(path.stem, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return found
