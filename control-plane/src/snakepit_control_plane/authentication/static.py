"""Tokens that don't change, of a file as the API server's --token-auth-file: for programs of one machine, and for tests."""

from __future__ import annotations

import csv
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from snakepit.errors import ServerUnavailable
from snakepit_control_plane.authentication.gate import AUTHENTICATED, Identity

MOST_TOKENS = 1000


@dataclass(frozen=True)
class _Known:
    token: bytes
    identity: Identity


class StaticTokens:
    """Those of `file`, read again when it changes. `setting`: what names it."""

    def __init__(self, file: str, setting: str) -> None:
        self._file, self._setting = Path(file), setting
        self._read_at = (0, 0)
        self._known: tuple[_Known, ...] = ()

    def find(self, token: str) -> Identity | None:
        """Whose it is; None: nobody's. Raises ServerUnavailable where the file can't be used."""
        try:
            self.read()
        except (OSError, ValueError) as error:
            raise ServerUnavailable(f"{self._setting} can't be used: {error}") from None
        sent = token.encode()
        found = [each.identity for each in self._known if hmac.compare_digest(each.token, sent)]
        return found[0] if found else None

    def read(self) -> None:
        """If it has changed. Raises OSError or ValueError."""
        status = self._file.stat()
        if (now := (status.st_mtime_ns, status.st_ino)) != self._read_at:
            self._known, self._read_at = parse(self._file.read_text().splitlines()), now


def parse(lines: Iterable[str]) -> tuple[_Known, ...]:
    """`token,subject,uid,"group,group"`. Raises ValueError with a sentence that names the line, and never a token."""
    found = []
    for number, row in enumerate(_rows(lines), 1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 2 or len(row[0]) < 16 or not row[1]:
            raise ValueError(f'line {number}: use token,subject,uid,"group,group", the token with 16 characters or more')
        groups = tuple(filter(None, (each.strip() for each in (row[3] if len(row) > 3 else "").split(","))))
        found.append(_Known(row[0].encode(), Identity(row[1], (), (*groups, AUTHENTICATED))))
    if len(found) > MOST_TOKENS:
        raise ValueError(f"{len(found)} tokens: {MOST_TOKENS} are the most")
    return tuple(found)


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, skipinitialspace=True)
    except csv.Error as error:
        raise ValueError(f"the lines can't be read: {error}") from None
