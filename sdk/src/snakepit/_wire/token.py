"""The bearer token of whoever dials: a file that is read again whenever the token is needed, because it is replaced before it expires."""

from __future__ import annotations

import os
from pathlib import Path

from snakepit._wire.status import Metadata
from snakepit.errors import SnakepitError, Started

MOUNTED = Path("/var/run/secrets/snakepit/token")
"""Where a caller's pod has its token, by the snippet of docs/security.md."""


def default_file() -> str | None:
    """SNAKEPIT_TOKEN_FILE, or the pod's own token; None: there is neither."""
    return os.environ.get("SNAKEPIT_TOKEN_FILE") or (str(MOUNTED) if MOUNTED.exists() else None)


class Token:
    """`file` None: there is none."""

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self._file = Path(file) if file else None
        self._last = ""

    def read(self) -> str:
        """The token, or the last one if the file can't be read now; empty: there is none. Raises SnakepitError if it never could."""
        if self._file is not None:
            try:
                self._last = self._file.read_text().strip()
            except OSError as error:
                if not self._last:
                    raise SnakepitError(f"the token file {self._file} can't be read: {error.strerror}", started=Started.NO) from None
        return self._last

    def metadata(self) -> Metadata:
        """What goes with an RPC. Raises SnakepitError as `read` does."""
        return (("authorization", f"Bearer {token}"),) if (token := self.read()) else ()
