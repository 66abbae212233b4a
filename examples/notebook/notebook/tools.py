"""A notebook's tools: load a table, ask it, draw the answer."""

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta

from notebook.chart import bars
from notebook.tables import Book
from snakepit import Adapter, Attachment, Context, tool

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,30}$", description="The table's name: small letters, digits and _.")]


class Notebook(Adapter):
    """Tables of a session: load them, ask them, draw them."""

    def setup(self) -> None:
        self.books: dict[str, Book] = {}

    def on_session_start(self, ctx: Context) -> None:
        """The one place where a session's tables come to life: from what its state has, which is nothing at first."""
        book, tables = Book(), ctx.state.keys()
        for table in tables:
            book.fill(table, ctx.state.get(table))
        self.books[ctx.session_id] = book

    def on_session_end(self, session_id: str) -> None:
        self.books.pop(session_id).close()

    @tool
    def load(self, table: Name, csv: str, *, ctx: Context) -> int:
        """Load a table from CSV; how many rows it has."""
        rows = self.book(ctx).fill(table, csv)
        ctx.state.set(table, csv)
        return rows

    @tool(read_only=True)
    def query(self, sql: str, *, ctx: Context) -> list[dict[str, Any]]:
        """The rows of a question in SQL."""
        return list(self.book(ctx).ask(sql))

    @tool(read_only=True)
    def rows(self, sql: str, *, ctx: Context) -> Iterator[dict[str, Any]]:
        """The rows of a question one by one, for answers that are long."""
        for row in self.book(ctx).ask(sql):
            ctx.check()
            yield row

    @tool(read_only=True)
    def chart(self, sql: str, *, ctx: Context) -> Attachment:
        """A picture of a question whose rows are a label and a number."""
        found = [tuple(row.values()) for row in self.book(ctx).ask(sql)]
        return Attachment("image/svg+xml", bars([(str(label), float(number)) for label, number in found]).encode())

    def book(self, ctx: Context) -> Book:
        """The tables of the call's session."""
        if not ctx.session_id:
            raise LookupError("a table belongs to a session: call with one")
        return self.books[ctx.session_id]
