"""One constructor and one parser for each kind of name. Two spellings of one thing are how locks get lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from snakepit._values import strings
from snakepit._values.strings import quoted
from snakepit.errors import InvalidArguments

if TYPE_CHECKING:
    from random import Random

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_POOL = rf"{_LABEL}/{_LABEL}"
POOL_CHARACTERS = 127
TOOL_CHARACTERS = 64
SESSION_CHARACTERS = 128
STATE_KEY_BYTES = 256
_TOOL = rf"[a-z0-9_.-]{{1,{TOOL_CHARACTERS}}}"
_SESSION = rf"[A-Za-z0-9_.:@/-]{{1,{SESSION_CHARACTERS}}}"

MOST_COMPARED = 200
"""So many known names are compared with one that is not."""


def pool_name(namespace: str, name: str) -> str:
    """`namespace/name`: how a pool is called everywhere."""
    return f"{namespace}/{name}"


def parse_pool(pool: str) -> tuple[str, str]:
    """Split a pool's name; a bare `name` means namespace `default`. Raises InvalidArguments."""
    return _parse_pool(pool if type(pool) is str else strings.check_type("pool's name", pool))


@lru_cache(1024)
def _parse_pool(pool: str) -> tuple[str, str]:
    full = pool if len(pool) > POOL_CHARACTERS or "/" in pool else f"default/{pool}"
    if not re.fullmatch(_POOL, full):
        raise InvalidArguments(f"pool {quoted(pool)} is not a pool's name: write namespace/name in lower-case letters, digits and '-'")
    namespace, name = full.split("/")
    return namespace, name


@lru_cache(1024)
def worker_id(capsule: str, index: int) -> str:
    """The id of the capsule's worker: `capsule/index`."""
    return f"{capsule}/{index}"


def parse_worker(worker: str) -> tuple[str, int]:
    """The inverse of `worker_id`. Raises InvalidArguments."""
    capsule, _, index = worker.rpartition("/")
    if not capsule or not index.isdecimal():
        raise InvalidArguments(f"worker {quoted(worker)} is not a worker's name: write capsule/index")
    return capsule, int(index)


def check_tool(name: str) -> str:
    """The name itself, where a tool may have it. Raises InvalidArguments."""
    if not re.fullmatch(_TOOL, strings.check_type("tool name", name)):
        raise InvalidArguments(f"tool name {quoted(name)} must be 1 to {TOOL_CHARACTERS} characters of a-z, 0-9, '_', '.', '-'")
    return name


def check_session(session: str) -> str:
    """The id itself, where a session may have it. Raises InvalidArguments."""
    if not re.fullmatch(_SESSION, strings.check_type("session id", session)):
        raise InvalidArguments(f"session id {quoted(session)} must be 1 to {SESSION_CHARACTERS} characters of letters, digits and _.:@/-")
    return session


def check_state_key(key: str) -> str:
    """The key itself, where a session's state may have it. Raises InvalidArguments."""
    if not strings.check_type("state key", key) or len(strings.check("state key", key).encode()) > STATE_KEY_BYTES:
        raise InvalidArguments(f"state key {key[:32]!r} must be 1 to {STATE_KEY_BYTES} bytes of UTF-8: a longer one belongs into the value")
    return key


def new_id() -> str:
    """A random id of 64 bits that nobody can guess, for sessions and incarnations."""
    return os.urandom(8).hex()


@cache
def _random() -> Random:
    """Of this process: a fork gets numbers of its own. Made when first needed, as an author's module never needs it."""
    from random import Random

    made = Random()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.seed)
    return made


def call_id() -> str:
    """A random id of 64 bits for a call: it proves nothing, and every call needs one, so it asks nothing of the kernel."""
    return f"{_random().getrandbits(64):016x}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question, about the best of `nearest`; empty: there is none."""
    meant = nearest(name, known)
    return f"did you mean {meant[0]}?" if meant else ""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three known names that the writer may have meant, best first. Of many known ones, those that begin alike are compared."""
    if len(name) > POOL_CHARACTERS:
        return []
    import difflib  # seldom needed, and slow to import

    compared = sorted(known)
    if len(compared) > MOST_COMPARED:
        compared = list(islice((other for other in compared if other[:1] == name[:1]), MOST_COMPARED))
    return difflib.get_close_matches(name, compared, n=3, cutoff=0.6)
