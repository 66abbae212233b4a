"""The tools: a session has one frame. Importing this module imports pandas and matplotlib, once for all workers of a capsule."""

import pandas

from frames import table
from frames.chart import Form, bars
from snakepit import Adapter, Attachment, Context, tool


class Frames(Adapter):
    """A data frame that stays: load it, narrow it, sum it up, plot it."""

    def setup(self) -> None:
        self.frames: dict[str, pandas.DataFrame] = {}

    def on_session_start(self, ctx: Context) -> None:
        """The one place where a session's frame comes to life: from the CSV, and by the steps that were done to it."""
        csv, steps = ctx.state.get("csv", None), ctx.state.get("steps", [])
        frame = pandas.DataFrame() if csv is None else table.read(csv)
        for step in steps:
            frame = table.narrowed(frame, **step)
        self.frames[ctx.session_id] = frame

    def on_session_end(self, session_id: str) -> None:
        del self.frames[session_id]

    @tool
    def load(self, csv: str, *, ctx: Context) -> int:
        """Load the session's table from CSV; how many rows it has."""
        self.frame(ctx)
        frame = table.read(csv)
        ctx.state.delete("steps")  # first: whoever is left with one write of the two has a whole table
        ctx.state.set("csv", csv)
        self.frames[ctx.session_id] = frame
        return len(frame)

    @tool
    def keep(self, column: str, op: table.Op, value: float | str, *, ctx: Context) -> int:
        """Keep the rows whose column is so, from now on; how many there are."""
        frame = table.narrowed(self.frame(ctx), column, op, value)
        ctx.state.set("steps", [*ctx.state.get("steps", []), {"column": column, "op": op, "value": value}])
        self.frames[ctx.session_id] = frame
        return len(frame)

    @tool(read_only=True)
    def totals(self, by: str, of: str, *, ctx: Context) -> dict[str, float]:
        """The sum of a column for each value of another, largest first."""
        return {str(label): float(total) for label, total in table.totals(self.frame(ctx), by, of).items()}

    @tool(read_only=True)
    def plot(self, by: str, of: str, form: Form = "png", *, ctx: Context) -> Attachment:
        """A bar chart of the totals, as PNG or SVG."""
        picture = bars(table.totals(self.frame(ctx), by, of), form)
        return Attachment({"png": "image/png", "svg": "image/svg+xml"}[form], picture)

    def frame(self, ctx: Context) -> pandas.DataFrame:
        """That of the call's session."""
        if not ctx.session_id:
            raise LookupError("a table belongs to a session: call with one")
        return self.frames[ctx.session_id]
