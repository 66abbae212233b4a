"""Targets: tokens, the keys that they are signed with, and requests of the port for metrics."""

from __future__ import annotations

import contextlib
import io
import json
import time
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.target import target
from snakepit._telemetry.metrics_server import Answers
from snakepit.errors import Unauthenticated
from snakepit_control_plane.authentication import tokens
from snakepit_control_plane.authentication.issuers import Issuer, parse_issuers
from snakepit_control_plane.telemetry import Telemetry

URL = "https://login.example.com"


@cache
def _key() -> tuple[Ed25519PrivateKey, tokens.Key]:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = jwt.algorithms.OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return private, tokens.parse_keys(json.dumps({"keys": [{**public, "kid": "k", "alg": "EdDSA"}]}).encode())["k"]


@cache
def _issuer() -> Issuer:
    mappings = {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": "oidc:"}}
    return parse_issuers(json.dumps([{"issuer": {"url": URL, "audiences": ["snakepit"]}, "claimMappings": mappings}]))[0]


@target(Unauthenticated)
def token(data: bytes) -> None:
    """As a stranger sends it: whatever it is, it is nobody's."""
    text = data.decode(errors="replace")
    assert tokens.key_id(text)
    assert isinstance(tokens.issuer_of(text), str)
    tokens.read(text, _key()[1], URL)
    raise AssertionError("it was taken")


@target(Unauthenticated)
def claims(data: bytes) -> None:
    """Of a token whose signature is right: what an issuer may have written into it."""
    try:
        said = {"iss": URL, "aud": ["snakepit"], "exp": time.time() + 1000, "sub": "a", **json.loads(data)}
        signed = jwt.api_jws.encode(json.dumps(said).encode(), _key()[0], "EdDSA")
    except (ValueError, TypeError, RecursionError):
        return
    read = tokens.read(signed, _key()[1], URL)
    for bearer in (tokens.service_account(read), tokens.person(read, _issuer())):
        assert bearer.subject
        assert bearer.expires > 0
        assert all(isinstance(each, str) for each in (bearer.subject, *bearer.audiences, *bearer.groups))


@target(ValueError)
def key_set(data: bytes) -> None:
    """What an issuer's JWKS has."""
    assert tokens.parse_keys(data)


@cache
def _metrics() -> Answers:
    return Answers("127.0.0.1", 1, Telemetry().registry.application())


@target()
def metrics_request(data: bytes) -> None:
    """It is answered, or hung up on, without a word in the log."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        _metrics().to(data, ("127.0.0.1", 1))
    assert not said.getvalue()
