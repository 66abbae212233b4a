"""Runs pieces of code one after another, in one namespace. It knows nothing of Snakepit, so any test can call it."""

import ast
import contextlib
import io
import linecache
import traceback
from dataclasses import dataclass
from typing import Any

MOST = 20_000
"""Characters of what a piece prints, of its result, and of its error: an agent pays for what it reads."""


@dataclass
class Outcome:
    """What became of a piece of code."""

    output: str
    """What it printed."""
    result: str
    """The repr of its last line, if that is an expression and not None."""
    error: str
    """The traceback, if it raised something."""


class Bounded(io.StringIO):
    """Keeps the first characters that are written, and forgets the others."""

    def write(self, text: str) -> int:
        super().write(text[: MOST - self.tell()])
        return len(text)


class Shell:
    """A namespace, and how many pieces have run in it."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.pieces = 0

    def run(self, code: str) -> Outcome:
        """Never raises what the code raises, but for what stops the call itself: `snakepit.Interrupted` is no Exception."""
        self.pieces += 1
        output, result, error = Bounded(), "", ""
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                value = self._value(code, f"<piece {self.pieces}>")
                result = "" if value is None else repr(value)[:MOST]
            except (Exception, SystemExit) as raised:
                error = "".join(traceback.format_exception(_below(raised)))[-MOST:]
        return Outcome(output.getvalue(), result, error)

    def _value(self, code: str, name: str) -> Any:
        """Of the last line, if it is an expression."""
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # tracebacks show its lines
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), self.names)
        return eval(compile(ast.Expression(last.value), name, "eval"), self.names) if last else None


def _below(raised: BaseException) -> BaseException:
    """Without the frames of this file."""
    frames = raised.__traceback__
    while frames and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return raised.with_traceback(frames)
