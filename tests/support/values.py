"""An adapter through whose tools values go in and out."""

from __future__ import annotations

import datetime
import decimal
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pandas
import PIL.Image
import polars
import pyarrow

from snakepit import Adapter, Context, tool

from .foreign import FOREIGN
from .rows import MARKED, ROWS, Colour, Picky, Point


class Values(Adapter):
    """Values in and out."""

    @tool
    def echo(self, value: object = None) -> object:
        return value

    @tool
    def make(self, name: str) -> object:
        """The value itself, from the worker."""
        return {**ROWS, **MARKED, **FOREIGN}[name].value

    @tool
    def make_each(self, names: list[str]) -> Iterator[object]:
        for name in names:
            yield {**ROWS, **MARKED, **FOREIGN}[name].value

    @tool
    def typed(
        self, when: datetime.datetime, price: decimal.Decimal, id: uuid.UUID, names: set[str], colour: Colour, point: Point, data: bytes
    ) -> list[str]:
        """The types that arrived."""
        return [type(each).__name__ for each in (when, price, id, names, colour, point, data)]

    @tool
    def tables(self, frame: pandas.DataFrame, other: polars.DataFrame, table: pyarrow.Table, image: PIL.Image.Image) -> list[Any]:
        """What arrived, as one says that it wants it."""
        return [type(each).__name__ for each in (frame, other, table, image)] + [len(frame), len(other), len(table), image.size]

    @tool
    def pick(self, value: Picky) -> int:
        return value.x

    @tool
    def process(self) -> int:
        return os.getpid()

    @tool
    def kind(self, value: object) -> str:
        return type(value).__name__

    @tool
    def classify(self, image: list[float]) -> int:
        """As in the documents' examples."""
        return int(sum(image))

    @tool
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @tool
    def fail_over_a_file(self, *, ctx: Context) -> None:
        name = os.fsdecode(b"x\xff")
        ctx.progress(0.5, name)
        raise FileNotFoundError(f"no file {name}")

    @tool
    def fail(self) -> None:
        raise LookupError("nothing there")
