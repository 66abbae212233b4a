"""In the place of a language model: it goes by a script, and by what it reads of a failure."""

import re
from collections.abc import Sequence
from typing import NamedTuple


class ToolCall(NamedTuple):
    """What a model asks for."""

    name: str
    arguments: dict[str, object]


class Scripted:
    """Reserves 20 pieces of tea, or as many as there are; then it would like to put them back."""

    def __init__(self, tools: Sequence[dict[str, object]]) -> None:
        self.tools = tools
        """Name, description and schema of each, as every model's API takes them."""

    def next(self, heard: Sequence[str]) -> ToolCall | str:
        """The next call, or what it has to say at the end. `heard`: what became of its calls so far."""
        match len(heard):
            case 0:
                return ToolCall("stock", {"item": "tea"})
            case 1:
                return ToolCall("reserve", {"item": "tea", "count": 20})
            case 2:
                there = re.search(r"there are (\d+)", heard[-1])
                return ToolCall("reserve", {"item": "tea", "count": int(there[1])}) if there else "I can't reserve any"
            case 3:
                return ToolCall("empty", {})
            case _:
                return "12 pieces of tea are reserved"
