"""An adapter that leaves temporary files, as its import has asked where they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from snakepit import Adapter, tool

OF_THE_IMPORT = tempfile.mkdtemp(prefix="of-the-import-")


class Littering(Adapter):
    """Each worker leaves a file."""

    def setup(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="of-a-worker-"))

    @tool
    def litter(self) -> list[str]:
        """Leave files; where, what the environment says, and what the import has made."""
        (self.folder / "locked").mkdir()
        (self.folder / "locked/file").write_text("left")
        (self.folder / "locked").chmod(0)
        return [str(self.folder), os.environ["TMPDIR"], OF_THE_IMPORT]
