"""Tokens that don't change, of a file as the API server's --token-auth-file: for programs of one machine, and for tests."""

from __future__ import annotations

import csv
import hmac
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from snakepit.errors import PermissionDenied, ServerUnavailable, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication.gate import AUTHENTICATED, HELP, Gate, Identity, Metadata, bearer, caller
from snakepit_control_plane.model.caller import Caller

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


OWN = "snakepit dev"
"""The subject of what one machine has started by itself."""


@dataclass(frozen=True)
class LocalTokens:
    """Of a control plane on one machine: `file` has its callers' tokens, and `own` is that of its agents, and of whoever started it."""

    file: str
    own: str = field(default_factory=secrets.token_urlsafe, repr=False)


class LocalGate(Gate):
    """Believes who has a token of the file, and agents that this machine has started."""

    def __init__(self, tokens: LocalTokens) -> None:
        self._static = StaticTokens(tokens.file, "--token-file")
        self._own = tokens.own.encode()

    async def admit_agent(self, metadata: Metadata, claimed: link_pb2.Capsule) -> None:
        """See `gate.Gate`."""
        self._admit(metadata, f"the agent of capsule {claimed.name}")

    async def admit_operator(self, metadata: Metadata) -> None:
        """See `gate.Gate`."""
        self._admit(metadata, "whoever syncs pools")

    async def identify(self, metadata: Metadata, connection: str, certificate: bytes = b"") -> Caller:
        """See `gate.Gate`."""
        token = bearer(metadata, "the caller", HELP)
        if self._is_own(token):
            return Caller(OWN, OWN)
        if (identity := self._static.find(token)) is None:
            raise Unauthenticated("the token is none of --token-file's")
        return caller(identity)

    def _admit(self, metadata: Metadata, who: str) -> None:
        if not self._is_own(bearer(metadata, who)):
            raise PermissionDenied(f"{who} has a token that `snakepit dev` has not given it")

    def _is_own(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._own)
