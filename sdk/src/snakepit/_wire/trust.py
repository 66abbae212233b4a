"""Whom a dialler takes for the control plane: TLS by a CA's file, which is read again as it changes; and what it shows of itself."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import grpc

from snakepit._wire.channels import client_options
from snakepit._wire.connect import Tls
from snakepit._wire.protocol import TLS_DETAIL
from snakepit._wire.secured import Secured
from snakepit.errors import ServerUnavailable, Started

MOUNTED = Path("/var/run/secrets/snakepit/ca.crt")
"""Where a caller's pod has it, by the snippet of docs/security.md."""

OFF = "off"
"""In place of a CA's file: no TLS, also where one is mounted."""

LOOK_SECONDS = 2.0
"""For a look at why a connection came to nothing."""

CERT, KEY = "SNAKEPIT_CLIENT_CERT_FILE", "SNAKEPIT_CLIENT_KEY_FILE"

_SPEAKS = "it speaks TLS"
_NO_TLS = "{address} speaks no TLS, which {ca} asks for: give its TLS port, or set SNAKEPIT_CA_FILE=off where it has none"
_SHOW_ONE = f"{{address}} takes only clients with a certificate of its CA: set {CERT} and {KEY}"
_OTHER_NAME = "the certificate of {address} is not for {name!r}: dial a name that it has, or set SNAKEPIT_TLS_SERVER_NAME to one"
_VERIFICATION = {
    0: "the certificate of {address} is of no CA in {ca}: use the ca.crt of that control plane's release",
    9: "the certificate of {address} is not valid yet: is the clock of one of the machines wrong?",
    10: "the certificate of {address} has expired: whoever runs that control plane is to renew it",
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
"""By OpenSSL's X509_V_ERR_*."""

_SPEAKS_TLS = "{address} speaks TLS: set SNAKEPIT_CA_FILE to the file of its CA's certificate"
_KINDS = {
    _NO_TLS: "none",
    _SHOW_ONE: "certificate",
    _OTHER_NAME: "name",
    _VERIFICATION[0]: "authority",
    _VERIFICATION[9]: "early",
    _VERIFICATION[10]: "expired",
    _SPEAKS_TLS: "wanted",
}
"""What is wrong, in a word: the detail TLS_DETAIL of the error that says the sentence."""

Name = str | os.PathLike[str]


class Trust:
    """`ca_file`: with it, connections are TLS; None: SNAKEPIT_CA_FILE, else MOUNTED, once it is there; OFF: plain ones.

    `server_name`: whom certificates must name, if not the host that was dialled. `cert_file` and `key_file`: a client's certificate.
    """

    def __init__(
        self,
        ca_file: Name | None = None,
        server_name: str | None = None,
        cert_file: Name | None = None,
        key_file: Name | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        given = str(ca_file or "") or environment.get("SNAKEPIT_CA_FILE", "")
        self._is_off = given == OFF
        self._ca = None if self._is_off or not given else Path(given)
        self._server_name = server_name or environment.get("SNAKEPIT_TLS_SERVER_NAME", "")
        cert, key = (str(file or "") or environment.get(name, "") for file, name in ((cert_file, CERT), (key_file, KEY)))
        if bool(cert) != bool(key):
            raise ServerUnavailable(f"a client's certificate is two files: give {CERT} and {KEY}, or neither", started=Started.NO)
        self._shown = (Path(cert), Path(key)) if cert else ()
        self._context: ssl.SSLContext | None = None
        self._made_of: list[tuple[int, int]] = []

    @property
    def shows_certificate(self) -> bool:
        """Instead of a token."""
        return bool(self._shown)

    def name(self, host: str) -> str:
        """Whom the certificate of that host must name."""
        return self._server_name or host

    def channel(self, address: str, host: str) -> grpc.aio.Channel:
        """To an address that `host` was looked up for. Raises ServerUnavailable where a file can't be used."""
        ca = self._ca_file()
        if ca is None:
            return grpc.aio.insecure_channel(address, options=client_options())
        self._check()
        cert, key = (file.read_bytes() for file in self._shown) if self._shown else (None, None)
        credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key, cert)
        name = ("grpc.ssl_target_name_override", self.name(host))
        return grpc.aio.secure_channel(address, credentials, options=[*client_options(), name])

    def tls(self, host: str) -> Tls | None:
        """For a connection beside that channel; None: a plain one. Raises ServerUnavailable."""
        return None if self._ca_file() is None else (self._check(), self.name(host))

    async def explain(self, error: Exception, address: str, host: str) -> ServerUnavailable | None:
        """Why a dial came to nothing, if it is because of the two ends' TLS: another handshake tells. None: it isn't."""
        if not isinstance(error, grpc.RpcError) or error.code() is not grpc.StatusCode.UNAVAILABLE or error.trailing_metadata():
            return None
        try:
            context = _blind() if self._ca_file() is None else self._check()
            async with asyncio.timeout(LOOK_SECONDS):
                problem = await _look(address, context, self.name(host))
        except (OSError, TimeoutError):
            return None
        if self._ca_file() is None and problem != _NO_TLS:
            problem = _SPEAKS_TLS
        elif self._ca_file() is None or problem == _SPEAKS:
            return None
        return _wrong(problem.format(address=address, name=self.name(host), ca=self._ca), _KINDS[problem]) if problem else None

    def _ca_file(self) -> Path | None:
        if self._ca is None and not self._is_off and MOUNTED.exists():
            self._ca = MOUNTED
        return self._ca

    def _check(self) -> ssl.SSLContext:
        """Of the files as they are now. Raises ServerUnavailable."""
        assert self._ca is not None
        try:
            state = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in (self._ca, *self._shown)]
            if self._context is None or state != self._made_of:
                self._context, self._made_of = self._made(self._ca), state
        except ssl.SSLError as error:
            files = f"{self._ca}{' or the client certificate beside it' if self._shown else ''}"
            raise _wrong(f"{files} is no PEM that TLS can use: {error.reason or error}") from None
        except OSError as error:
            raise _wrong(f"{error.filename or self._ca}, which TLS needs, can't be read: {error.strerror}") from None
        return self._context

    def _made(self, ca: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(ca)
        context.set_alpn_protocols(["h2"])
        if self._shown:
            context.load_cert_chain(*self._shown)
        return context


def _wrong(sentence: str, kind: str = "file") -> ServerUnavailable:
    return ServerUnavailable(sentence, started=Started.NO, details={TLS_DETAIL: kind})


def _blind() -> ssl.SSLContext:
    """To see whether somebody speaks TLS: nothing is said to whoever does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _look(address: str, context: ssl.SSLContext, name: str) -> str:
    """What becomes of a handshake, with places for address, name and ca; raises OSError where there is nobody."""
    host, port = address.rpartition(":")[0].strip("[]"), int(address.rpartition(":")[2])
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        secured = Secured(sock, context, name)
        try:
            await secured.handshake()
            if await secured.receive(1):
                return _SPEAKS
            return _SHOW_ONE  # Said or not: whoever wants a client's certificate looks at it only now.
        except ssl.SSLCertVerificationError as error:
            return _VERIFICATION.get(error.verify_code, _VERIFICATION[0])
        except ssl.SSLError as error:
            return _SHOW_ONE if "ALERT" in (error.reason or "") else _NO_TLS
