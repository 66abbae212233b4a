"""Runs pieces of code one after another in one IPython. It knows nothing of sessions and calls."""

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from interpreter.shown import Shown, richest

MOST = 20_000
"""Characters of what a piece prints, of its result, and of its error: an agent pays for what it reads."""
MOST_SHOWN = 3 * 2**20
"""Bytes of all that a piece shows."""


@dataclass
class Outcome:
    """What became of a piece of code."""

    output: str
    """What it printed."""
    result: str
    """Its last line as text, if that is an expression and not None."""
    error: str
    """The traceback, if it raised something."""
    shown: list[Shown]
    """What has more than text: a chart, a table, of the last line or of `display(…)`."""


class Shell(InteractiveShell):
    """IPython without a terminal. There is one in a process: `Shell.instance(folder)`, whose folder is for what IPython writes."""

    def __init__(self, folder: str = "") -> None:
        self.result, self.error, self.shown, self.room = "", "", list[Shown](), MOST_SHOWN
        config = Config({"HistoryManager": {"enabled": False}})  # no database of what was typed
        super().__init__(ipython_dir=folder, config=config, colors="nocolor", displayhook_class=LastLine, display_pub_class=Displayed)
        warnings.filterwarnings("ignore", "To exit: use", UserWarning)  # what IPython says of SystemExit in a terminal

    def run(self, code: str) -> Outcome:
        """Never raises what the code raises, but for what stops the call itself: `snakepit.Interrupted` is no Exception."""
        self.result, self.error, self.shown, self.room = "", "", list[Shown](), MOST_SHOWN
        output = Bounded()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            done = self.run_cell(code, store_history=True)
        raised = done.error_in_exec
        if raised is not None and not isinstance(raised, (Exception, SystemExit)):
            raise raised
        return Outcome(output.told(), cut(self.result), cut(self.error, ends=True), self.shown)

    def shows(self, forms: dict[str, Any]) -> None:
        """Keep the richest form of it, beside its text."""
        each = richest(forms)
        if each is None:
            return
        if each.size > self.room:
            print(f"[{each.media} of {each.size} bytes was left out: a piece of code shows {MOST_SHOWN} at most]")
            return
        self.room -= each.size
        self.shown.append(each)

    def ask_exit(self) -> None:
        """`exit()` would end a terminal."""
        print("The session goes on: whoever opened it ends it.")

    def enable_gui(self, gui: str | None = None) -> None:
        """There are no windows: `%matplotlib inline`, which asks for none, comes here too."""

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        """What IPython would print of an exception."""
        self.error = self.InteractiveTB.stb2text(stb)


class Bounded(io.StringIO):
    """Keeps the first characters that are written, and counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.others = 0

    def write(self, text: str) -> int:
        self.others += len(text) - super().write(text[: MOST - self.tell()])
        return len(text)

    def told(self) -> str:
        return self.getvalue() + left_out(self.others)


def cut(text: str, ends: bool = False) -> str:
    """Its first characters, or its last, and how many others there were: an agent would take a part for the whole."""
    note = left_out(len(text) - MOST)
    return note.lstrip() + text[-MOST:] if ends else text[:MOST] + note


def left_out(characters: int) -> str:
    return f"\n[{characters} more characters were left out]\n" if characters > 0 else ""


class LastLine(DisplayHook):
    """Gets the value of a piece's last line."""

    def write_output_prompt(self) -> None:
        """There is none."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        self.shell.result = format_dict.get("text/plain", "")
        self.shell.shows(format_dict)


class Displayed(DisplayPublisher):
    """Gets what `display(…)` is called with."""

    def publish(self, data: dict[str, Any], *args: Any, **options: Any) -> None:
        print(data.get("text/plain", ""))
        self.shell.shows(data)
