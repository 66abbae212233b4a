"""The certificate that a replica shows at its ports: read again as its files change, for new connections. Running ones go on."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

LOOK_SECONDS = 1.0
"""The files are looked at when somebody connects, and not more often than this."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TlsFiles:
    """PEM. `client_ca`: whose certificates clients may show, at a port of their own; None: no such port."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Certificate:
    """What the files hold. gRPC asks for it on threads of its own."""

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError with a sentence where the files can't be used now. Later the last good ones stay."""
        self._files = files
        self._clock = clock
        self._lock = threading.Lock()
        self._looked = clock()
        self._state = self._now()
        self._version = 0
        self._problem = ""
        self._context, self._configuration = self._read()

    @property
    def has_clients(self) -> bool:
        """May clients show certificates of their own?"""
        return self._files.client_ca is not None

    def context(self) -> ssl.SSLContext:
        """For a connection to the lane port that begins now."""
        with self._lock:
            self._look()
            return self._context

    def credentials(self, *, of_clients: bool = False) -> grpc.ServerCredentials:
        """For one port of gRPC's; `of_clients`: every client must show a certificate there."""
        seen = self._version

        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal seen
            with self._lock:
                self._look()
                if seen == self._version:
                    return None
                seen = self._version
                return self._configuration

        return grpc.dynamic_ssl_server_credentials(self._configuration, newer, require_client_authentication=of_clients)  # type: ignore[arg-type]  # None: no change

    def _now(self) -> list[tuple[int, int]]:
        """Which files are there. Raises ValueError."""
        files = (self._files.certificate, self._files.key, *([self._files.client_ca] if self._files.client_ca else []))
        try:
            return [(status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in files)]
        except OSError as error:
            raise ValueError(f"{error.filename}, which TLS needs, can't be read: {error.strerror}") from None

    def _look(self) -> None:
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        try:
            if (state := self._now()) == self._state:
                return
            self._context, self._configuration = self._read()
        except ValueError as error:  # Also while files are being replaced: key and certificate are no pair then.
            if str(error) != self._problem:
                log.warning("the certificate stays the one that it was: %s", error)
            self._problem = str(error)
            return
        self._state, self._problem = state, ""
        self._version += 1
        log.info("the certificate in %s was read again", self._files.certificate)

    def _read(self) -> tuple[ssl.SSLContext, grpc.ServerCertificateConfiguration]:
        """Raises ValueError."""
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 0  # For sessions that nobody resumes.
        try:
            context.load_cert_chain(files.certificate, files.key)
            if files.client_ca is not None:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(files.client_ca)
            key, chain = files.key.read_bytes(), files.certificate.read_bytes()
            roots = files.client_ca.read_bytes() if files.client_ca is not None else None
        except ssl.SSLError as error:
            named = ", ".join(map(str, filter(None, (files.certificate, files.key, files.client_ca))))
            raise ValueError(f"one of {named} can't be used, or key and certificate are no pair: {error.reason or error}") from None
        except OSError as error:
            raise ValueError(f"{error.filename or files.certificate}, which TLS needs, can't be read: {error.strerror}") from None
        return context, grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)
