"""Targets: what people, and whoever may write a pool or a setting, put into files and variables."""

from __future__ import annotations

import cel

from fuzz.target import target
from snakepit.spec import InvalidPool, decode_spec, encode_spec, load_pools
from snakepit_control_plane.authentication import static
from snakepit_control_plane.authentication.issuers import parse_issuers


@target(InvalidPool)
def pool_file(data: bytes) -> None:
    """A pool that is taken says the same when it is written out and read again."""
    for pool in load_pools(data.decode(errors="replace"), cel.evaluate):
        assert decode_spec(encode_spec(pool.spec)) == pool.spec


@target(InvalidPool)
def pool_settings(data: bytes) -> None:
    """A pool's settings as the operator and agents send them."""
    encode_spec(decode_spec(data))


@target(ValueError)
def issuers(data: bytes) -> None:
    """SNAKEPIT_AUTH_ISSUERS."""
    parse_issuers(data)


@target(ValueError)
def static_tokens(data: bytes) -> None:
    """SNAKEPIT_AUTH_TOKENS_FILE."""
    static.parse(data.decode().splitlines())
