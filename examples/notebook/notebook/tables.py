"""A database in memory, filled from CSV. It knows nothing of Snakepit, so any test can call it."""

import csv
import io
import sqlite3
from collections.abc import Iterator
from typing import Any


class Book:
    """The tables of one session."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.row_factory = sqlite3.Row

    def fill(self, table: str, text: str) -> int:
        """Make the table anew from CSV whose first line has the names; how many rows it has then."""
        names, *rows = csv.reader(io.StringIO(text))
        columns = ", ".join('"' + name.replace('"', '""') + '" NUMERIC' for name in names)
        with self._database as database:
            database.execute("PRAGMA query_only = OFF")
            database.execute(f'DROP TABLE IF EXISTS "{table}"')
            database.execute(f'CREATE TABLE "{table}" ({columns})')
            database.executemany(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(names))})', rows)
        self._database.execute("PRAGMA query_only = ON")
        return len(rows)

    def ask(self, sql: str) -> Iterator[dict[str, Any]]:
        """The rows of a question, one by one. What would change a table is refused."""
        for row in self._database.execute(sql):
            yield dict(row)

    def close(self) -> None:
        self._database.close()
