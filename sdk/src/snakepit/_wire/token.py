"""The bearer token of whoever dials: a file that is read again whenever the token is needed, because it is replaced before it expires."""

from __future__ import annotations

import os
from pathlib import Path

from snakepit._wire.status import Metadata
from snakepit.errors import Started, Unauthenticated

MOUNTED = Path("/var/run/secrets/snakepit/token")
"""Where a caller's pod has its token, by the snippet of docs/security.md."""


def default_file() -> str | None:
    """SNAKEPIT_TOKEN_FILE, or the pod's own token; None: there is neither."""
    return os.environ.get("SNAKEPIT_TOKEN_FILE") or (str(MOUNTED) if MOUNTED.exists() else None)


MOST_CHARACTERS = 7 * 1024
"""Of a token that is passed on. gRPC takes 8 KiB of metadata for certain."""


def check_token(token: str) -> str:
    """The same: gRPC takes no other. Raises Unauthenticated; what it says has nothing of the token."""
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
        raise Unauthenticated("the caller's token has characters that no token has", started=Started.NO)
    if len(token) > MOST_CHARACTERS:
        raise Unauthenticated(f"the caller's token has {len(token)} characters: {MOST_CHARACTERS} are the most", started=Started.NO)
    return token


def bearing(token: str) -> Metadata:
    """What goes with an RPC of its bearer."""
    return (("authorization", f"Bearer {token}"),)


class Token:
    """`file` None: there is none."""

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self._file = Path(file) if file else None
        self._last = ""

    def read(self) -> str:
        """The token, or the last one if the file can't be read now; empty: there is none. Raises Unauthenticated if it never could."""
        if self._file is not None:
            try:
                self._last = self._file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                if not self._last:
                    why = getattr(error, "strerror", None) or "it is no text"
                    raise Unauthenticated(f"the token file {self._file} can't be read: {why}: mend its path or its mode") from None
        return self._last

    def metadata(self) -> Metadata:
        """What goes with an RPC. Raises SnakepitError as `read` does."""
        return bearing(token) if (token := self.read()) else ()
