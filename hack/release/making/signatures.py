"""Owns signatures: cosign makes them, by a key and without anybody's service, so that they can be checked where there is no internet."""

import json
import os
from pathlib import Path

from localcluster import shell

from making import tools

NOBODY = {
    "signing-config": {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"},
    "trusted-root": {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"},
}
"""Files without anybody's certificate authority, transparency log and clock: cosign would fetch Sigstore's."""


class Signer:
    """`key` is a file or whatever else cosign can sign by; empty: one is made in `folder`, for as long as that is there."""

    def __init__(self, key: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._environment = {**os.environ, "COSIGN_YES": "true"}
        for name, content in NOBODY.items():
            (folder / name).write_text(json.dumps(content))
        self._files = [f"--{name}={folder / name}" for name in NOBODY]
        self.key = key or self._make(folder)

    def _make(self, folder: Path) -> str:
        self._environment["COSIGN_PASSWORD"] = ""
        self._cosign("generate-key-pair", f"--output-key-prefix={folder / 'cosign'}")
        return str(folder / "cosign.key")

    def public_key(self) -> str:
        """As PEM."""
        return self._cosign("public-key", f"--key={self.key}")

    def image(self, reference: str) -> None:
        """Sign what a registry without TLS has under this name and digest."""
        self._cosign("sign", *self._by_key(), "--allow-http-registry", reference)

    def contents(self, reference: str, sbom: Path) -> None:
        """Sign that this is what is in it."""
        words = ("--type=cyclonedx", f"--predicate={sbom}", "--allow-http-registry", reference)
        self._cosign("attest", *self._by_key(), *words)

    def file(self, path: Path) -> None:
        """The signature is beside it."""
        self._cosign("sign-blob", *self._by_key(), f"--bundle={path}.sigstore.json", path)

    def _by_key(self) -> list[str]:
        return [f"--key={self.key}", *self._files]

    def _cosign(self, *words: str | Path) -> str:
        return shell.output(tools.path("cosign"), *words, environment=self._environment)
