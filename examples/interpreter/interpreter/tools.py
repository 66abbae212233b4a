"""The tools that an agent gets: run code, and pass files in and out. The worker is one session's alone (`worker.exclusive`)."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from interpreter.shell import Outcome, Shell
from snakepit import Adapter, Attachment, tool

Name = Annotated[str, Meta(pattern=r"^\w[\w.-]{0,99}$", description="A file's name, without folders.")]


class Interpreter(Adapter):
    """Python that remembers: variables, imports and files stay for as long as the session does."""

    def setup(self) -> None:
        self.own = tempfile.TemporaryDirectory(prefix="ipython-")  # both go when the worker ends
        self.folder = tempfile.TemporaryDirectory(prefix="session-")
        os.chdir(self.folder.name)
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # figures are shown, as in a notebook
        self.shell = Shell.instance(self.own.name)

    def teardown(self) -> None:
        os.chdir("/")  # at its end IPython asks where it is, and the folder is gone by then

    @tool(timeout=30, destructive=True)
    def run(self, code: str) -> Outcome:
        """Run Python, as IPython does. The value of the last line is the result; files are in the current folder."""
        return self.shell.run(code)

    @tool(read_only=True)
    def files(self) -> list[str]:
        """The names of the session's files."""
        return sorted(each.name for each in Path(self.folder.name).iterdir() if each.is_file())

    @tool
    def put(self, name: Name, data: bytes) -> int:
        """Make a file for the code to read; how many bytes it has."""
        return Path(self.folder.name, name).write_bytes(data)

    @tool(read_only=True)
    def get(self, name: Name) -> Attachment:
        """A file that the code has made."""
        return Attachment("application/octet-stream", Path(self.folder.name, name).read_bytes())
