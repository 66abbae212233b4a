"""Owns signatures: cosign makes them, by a key and without anybody's service, so that they can be checked where there is no internet."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from localcluster import shell
from localcluster.shell import Failure

from making import tools

NOBODY = {
    "signing-config": {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"},
    "trusted-root": {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"},
}
"""Files without anybody's certificate authority, transparency log and clock: cosign would fetch Sigstore's."""


COSIGN_SECONDS = 120.0
"""One that takes longer waits for a key management service, or for somebody."""


def refuse_locked(key: str, environment: Mapping[str, str]) -> None:
    """A file that can't be opened, long before it is needed. Raises Failure."""
    if not key or ":" in key:  # awskms://…, env://…, pkcs11:…
        return
    if not os.access(key, os.R_OK):
        raise Failure(f"COSIGN_KEY names {key}, which can't be read: name a file, or a key as cosign calls it.")
    if "COSIGN_PASSWORD" not in environment:
        raise Failure(f"COSIGN_KEY names {key}, and COSIGN_PASSWORD is not set: set it to what opens that file, or to nothing.")


class Signer:
    """`key` is a file or whatever else cosign can sign by; empty: one is made in `folder`, for as long as that is there."""

    def __init__(self, key: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._environment = {**os.environ, "COSIGN_YES": "true"}
        for name, content in NOBODY.items():
            (folder / name).write_text(json.dumps(content))
        self._files = [f"--{name}={folder / name}" for name in NOBODY]
        self._program = tools.cosign(key)
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
        """The signature is beside it, for everybody to read, as the file is."""
        bundle = Path(f"{path}.sigstore.json")
        self._cosign("sign-blob", *self._by_key(), f"--bundle={bundle}", path)
        bundle.chmod(0o644)

    def _by_key(self) -> list[str]:
        return [f"--key={self.key}", *self._files]

    def _cosign(self, *words: str | Path) -> str:
        return shell.output(self._program, *words, environment=self._environment, seconds=COSIGN_SECONDS)
