"""What is done with a frame of pandas. It knows nothing of Snakepit, so any test can call it."""

import io
import operator
from typing import Literal

import pandas

Op = Literal["==", "!=", "<", "<=", ">", ">="]

COMPARED = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def read(csv: str) -> pandas.DataFrame:
    """From CSV whose first line has the names. Raises ValueError for what is none."""
    return pandas.read_csv(io.StringIO(csv))


def narrowed(frame: pandas.DataFrame, column: str, op: Op, value: float | str) -> pandas.DataFrame:
    """The rows that fit. `DataFrame.query` would do more: it evaluates what it is given, and this comes from a caller."""
    return frame[COMPARED[op](found(frame, column), value)]


def totals(frame: pandas.DataFrame, by: str, of: str) -> pandas.Series:
    """The sum of one column for each value of the other, largest first."""
    if not pandas.api.types.is_numeric_dtype(found(frame, of)):
        raise ValueError(f"{of!r} has no numbers to add up")
    return found(frame, of).groupby(found(frame, by)).sum().sort_values(ascending=False)


def found(frame: pandas.DataFrame, column: str) -> pandas.Series:
    """The column of that name."""
    if column not in frame:
        raise LookupError(f"there is no column {column!r}, but {', '.join(map(str, frame.columns)) or 'none at all: load a table first'}")
    return frame[column]
