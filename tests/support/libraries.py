"""A tool that works with the library that LIBRARIES names, imported with the module as most do."""

from __future__ import annotations

import importlib
import os
from typing import Any

from snakepit import tool

NAME = os.environ["LIBRARIES"]
library: Any = importlib.import_module(NAME)


@tool
def work() -> int:
    """Enough to have the library's own threads and pools made, where it has some."""
    if NAME == "pyarrow":
        return (
            int(library.compute.sum(library.array([1, 2, 3])).as_py())
            if hasattr(library, "compute")
            else sum(library.array([1, 2, 3]).to_pylist())
        )
    if NAME == "pandas":
        return int(library.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}).groupby("b").a.sum().sum())
    from sklearn.linear_model import LinearRegression

    return round(LinearRegression().fit([[1], [2], [3]], [1, 2, 3]).predict([[6]])[0])
