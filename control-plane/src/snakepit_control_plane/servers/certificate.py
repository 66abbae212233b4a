"""The certificate that a replica shows at its ports: to gRPC, and at its lane port."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from snakepit._wire.shown import Shown, server_context, unusable


@dataclass(frozen=True)
class TlsFiles:
    """PEM. `client_ca`: whose certificates clients may show, at a port of their own; None: no such port."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Certificate:
    """What the files hold. gRPC asks for it on threads of its own."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises ValueError with a sentence where the files can't be used now. Later the last good ones stay."""
        self._files = files
        self._all = (files.certificate, files.key, *([files.client_ca] if files.client_ca else []))
        self._shown = Shown(self._all, self._read)

    @property
    def has_clients(self) -> bool:
        """May clients show certificates of their own?"""
        return self._files.client_ca is not None

    def context(self) -> ssl.SSLContext:
        """For a connection to the lane port that begins now."""
        return self._shown.now()[0]

    def credentials(self, *, of_clients: bool = False) -> grpc.ServerCredentials:
        """For one port of gRPC's; `of_clients`: every client must show a certificate there."""
        seen = self._shown.now()[1]

        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal seen
            before, seen = seen, self._shown.now()[1]
            return None if seen is before else seen

        return grpc.dynamic_ssl_server_credentials(seen, newer, require_client_authentication=of_clients)  # type: ignore[arg-type]  # None: no change

    def _read(self) -> tuple[ssl.SSLContext, grpc.ServerCertificateConfiguration]:
        """Raises ValueError."""
        files = self._files
        try:
            context = server_context(files.certificate, files.key)
            if files.client_ca is not None:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(files.client_ca)
            key, chain = files.key.read_bytes(), files.certificate.read_bytes()
            roots = files.client_ca.read_bytes() if files.client_ca is not None else None
        except OSError as error:
            raise unusable(error, self._all) from None
        return context, grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)
