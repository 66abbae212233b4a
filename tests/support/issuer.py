"""Somebody who signs tokens as a Kubernetes API server does, and serves the keys to them over HTTP on loopback."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from snakepit_control_plane.authentication import Authentication
from snakepit_control_plane.authentication.keys import Issued
from snakepit_control_plane.authentication.tokens import parse_keys

from .simulated_agent import OBSERVER_TOKEN

NAME = "https://kubernetes.example"
AUDIENCE = "snakepit.test"
OPERATOR = "system:serviceaccount:snakepit-system:snakepit-operator"


@cache
def private_key(key_id: str) -> rsa.RSAPrivateKey:
    """Made once: it takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key(key_id: str) -> dict[str, Any]:
    """As it stands in a JWKS."""
    return {**RSAAlgorithm.to_jwk(private_key(key_id).public_key(), as_dict=True), "kid": key_id, "use": "sig", "alg": "RS256"}


def signed(claims: dict[str, Any], key_id: str = "one") -> str:
    return jwt.encode(claims, private_key(key_id), "RS256", {"kid": key_id})


def pod_claims(pod: str, pool: str, uid: str = "pod-uid", **other: Any) -> dict[str, Any]:
    """What the token of a capsule's agent says, as an API server writes it."""
    namespace, now = pool.partition("/")[0], int(time.time())
    bound = {"namespace": namespace, "pod": {"name": pod, "uid": uid}, "serviceaccount": {"name": "default", "uid": "account-uid"}}
    return {
        "aud": [f"{AUDIENCE}/{pool}"],
        "exp": now + 3607,
        "iat": now,
        "iss": NAME,
        "kubernetes.io": bound,
        "nbf": now,
        "sub": f"system:serviceaccount:{namespace}:default",
        **other,
    }


def operator_claims(**other: Any) -> dict[str, Any]:
    return pod_claims("snakepit-operator-0", "snakepit-system/none", **{"aud": [AUDIENCE], "sub": OPERATOR, **other})


@dataclass
class Issuer:
    """`keys`: which it has now. `asked`: the `authorization` of each request for them. `broken`: it answers 503."""

    url: str = ""
    keys: list[str] = field(default_factory=lambda: ["one"])
    asked: list[str] = field(default_factory=list)
    broken: bool = False
    tokens_file: str = ""
    """One token, of whoever looks at a replica's workers."""

    def settings(self, **other: Any) -> Authentication:
        own = {"keys": self.url, "audience": AUDIENCE, "operator": OPERATOR, "issuer": NAME, "tokens_file": self.tokens_file}
        return Authentication(**{**own, **other})

    def jwks(self) -> bytes:
        return json.dumps({"keys": [public_key(each) for each in self.keys]}).encode()


@contextlib.contextmanager
def issuer(folder: Path) -> Iterator[Issuer]:
    """One that serves."""
    (folder / "tokens.csv").write_text(f"{OBSERVER_TOKEN},observer\n")
    serving = Issuer(tokens_file=str(folder / "tokens.csv"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.asked.append(self.headers.get("authorization", ""))
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/jwks")
                self.end_headers()
                return
            self.send_response(503 if serving.broken else 200)
            self.end_headers()
            self.wfile.write(b"" if serving.broken else serving.jwks())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.url = f"http://127.0.0.1:{server.server_port}/jwks"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield serving
    finally:
        server.shutdown()
        server.server_close()


class Kept:
    """A source in memory. `fail`: what a fetch raises; `gate`: a fetch waits for it."""

    def __init__(self, *key_ids: str) -> None:
        self.key_ids = key_ids
        self.fetches = 0
        self.fail: OSError | None = None
        self.gate = threading.Event()
        self.gate.set()

    @property
    def key_ids(self) -> Sequence[str]:
        return self._key_ids

    @key_ids.setter
    def key_ids(self, key_ids: Sequence[str]) -> None:
        """They are made now: a fetch has three seconds, which on a busy machine a key may take."""
        self._key_ids = key_ids
        for each in key_ids:
            private_key(each)

    def fetch(self) -> Issued:
        self.fetches += 1
        assert self.gate.wait(10)
        if self.fail is not None:
            raise self.fail
        return Issued(NAME, parse_keys(json.dumps({"keys": [public_key(each) for each in self.key_ids]}).encode()))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now
