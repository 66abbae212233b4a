"""Attacks on ports that speak TLS: gRPC's (tokens, and client certificates), which is BoringSSL, and the lanes', which is OpenSSL."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from hostile.sockets import Sockets
from hostile.wire import PREFACE, SECONDS, crowd, dial, drain, hung_up, opening, send
from snakepit.v1 import router_pb2, router_pb2_grpc
from support.new_keys import ask_for_new_keys

PORTS = ("grpc", "lane", "clients")
HOST = "localhost"
HANDSHAKE, CHANGE_CIPHER_SPEC, ALERT, CONTENT = 22, 20, 21, 23


class Handshakes(Sockets):
    def _context(self, own: str = "") -> ssl.SSLContext:
        """`own`: which certificate is shown."""
        context = ssl.create_default_context(cafile=str(self.target["ca"]))
        context.set_alpn_protocols(["h2"])
        if own:
            context.load_cert_chain(Path(str(self.target[own]), "tls.crt"), Path(str(self.target[own]), "tls.key"))
        return context

    def _hello(self, name: str = HOST) -> bytes:
        """What a client says first."""
        return Shaking(self._context(), name).said()

    @contextlib.contextmanager
    def _shaken(self, port: str, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Iterator[Shaking]:
        context = self._context("ada" if port == "clients" else "")
        context.maximum_version = newest
        with dial(self._port(port)) as sock:
            shaking = Shaking(context)
            shaking.shake(sock)
            yield shaking

    def no_hello_at_all(self) -> None:
        """Plaintext, of all that would be right without TLS, records of every kind and length, and bytes that are nothing."""
        heads = [
            b"",
            PREFACE,
            opening(),
            bytes(16),
            b"GET / HTTP/1.1\r\n\r\n",
            record(HANDSHAKE, b"\x01\xff\xff\xff"),
            record(ALERT, b"\x02\x28"),
        ]
        heads += [record(ALERT, b"\x02\x28")] + [
            bytes((kind, 3, 3)) + b"\xff\xff" for kind in (HANDSHAKE, CHANGE_CIPHER_SPEC, ALERT, CONTENT, 255)
        ]
        for port in PORTS:
            for number in range(self._count(240)):
                size = self.chance.choice([0, 1, 16, 300, 5000])
                with contextlib.suppress(OSError), dial(self._port(port), heads[number % len(heads)] + self.chance.randbytes(size)) as sock:
                    drain(sock)

    def broken_hellos(self) -> None:
        """Each has a few wrong bytes, anywhere: lengths, versions, extensions, curves."""
        hello = self._hello()
        for port in PORTS:
            for _ in range(self._count(240)):
                broken = bytearray(hello)
                for _ in range(self.chance.choice([1, 3, 20])):
                    broken[self.chance.randrange(len(broken))] = self.chance.randrange(256)
                with contextlib.suppress(OSError), dial(self._port(port), bytes(broken)) as sock:
                    drain(sock)

    def names_that_are_garbage(self) -> None:
        """In SNI, where a client says whom it means: any bytes of any length, and names of others."""
        for port in PORTS:
            for size in [1, 2, 60, 63, 200, 250] * self._count(8):
                labels = ".".join(["x" * 60] * (size // 61) + ["x" * (size % 61 or 1)])
                hello, name = self._hello(labels), labels.encode()
                assert name in hello
                for said in (self.chance.randbytes(len(name)), b"\x00" * len(name), b"*" * len(name), name):
                    with contextlib.suppress(OSError), dial(self._port(port), hello.replace(name, said)) as sock:
                        drain(sock)

    def half_handshakes_by_the_hundred(self) -> None:
        """A part of a hello, or all of it; then nothing, and each is hung up on in its time."""
        hello = self._hello()
        with contextlib.ExitStack() as stack:
            parts = [(port, size) for port in PORTS for size in (len(hello) // 2, len(hello))]
            made = [stack.enter_context(crowd(self._port(port), self._count(150), hello[:size])) for port, size in parts]
            for each in made:
                assert hung_up(each[0]), "a handshake that doesn't end is hung up on"

    def slow_handshakes(self) -> None:
        """A byte now and then, in records of one byte each."""
        hello = self._hello()[5:]
        with contextlib.ExitStack() as stack:
            slow = [sock for port in PORTS for sock in stack.enter_context(crowd(self._port(port), self._count(100)))]
            for byte in hello[:40]:
                for sock in slow:
                    send(sock, record(HANDSHAKE, bytes((byte,))))
                time.sleep(0.05)

    def records_that_mean_nothing(self) -> None:
        """Changes of cipher, warnings and empty records without end, after a hello and after a handshake."""
        for port in PORTS:
            for part in (record(CHANGE_CIPHER_SPEC, b"\x01"), record(ALERT, b"\x01\x5a"), record(CONTENT, b""), record(HANDSHAKE, b"")):
                with dial(self._port(port), self._hello()) as sock:
                    flood(sock, lambda part=part: part * 1000, self._count(100))  # type: ignore[misc]
                with contextlib.suppress(OSError), self._shaken(port) as shaking:
                    flood(shaking.sock, lambda part=part: part * 1000, self._count(20))  # type: ignore[misc]

    def new_keys_without_end(self) -> None:
        """TLS 1.3: the other end is asked for as many as it gives."""
        for port in PORTS:
            for _ in range(self._count(3)):
                with contextlib.suppress(OSError), self._shaken(port) as shaking:
                    flood(shaking.sock, shaking.new_keys, self._count(100))

    def renegotiations(self) -> None:
        """TLS 1.2: a handshake within a connection, which is refused. Python can't, and a hello that nobody sealed is worth nothing."""
        hello = self._hello()
        for port in PORTS:
            for _ in range(self._count(20)):
                with contextlib.suppress(OSError), self._shaken(port, newest=ssl.TLSVersion.TLSv1_2) as shaking:
                    assert shaking.tls.version() == "TLSv1.2"
                    send(shaking.sock, hello * 20)
                    assert hung_up(shaking.sock, SECONDS)

    def handshakes_and_nothing_after(self) -> None:
        for port in PORTS:
            with contextlib.ExitStack() as stack:
                for _ in range(self._count(60)):
                    with contextlib.suppress(OSError):
                        stack.enter_context(self._shaken(port))
                time.sleep(0.5)

    def certificates_that_are_wrong(self) -> None:
        """None, expired, of another CA, of a server's CA, of a name that is the cluster's, and of nobody: none calls."""
        ca = Path(str(self.target["ca"])).read_bytes()
        for own in ("", "expired", "of_another_ca", "of_a_server", "of_the_cluster", "of_nobody") * self._count(4):
            folder = Path(str(self.target[own])) if own else None
            key, chain = ((folder / name).read_bytes() for name in ("tls.key", "tls.crt")) if folder else (None, None)
            credentials = grpc.ssl_channel_credentials(ca, key, chain)
            server = f"127.0.0.1:{self._port('clients')}"
            with grpc.secure_channel(server, credentials, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                request = router_pb2.ExecuteRequest(pool="default/sample", tool="echo")
                for _ in range(3):
                    with contextlib.suppress(grpc.RpcError):
                        router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=10)
                        raise AssertionError(f"it called, with a certificate {own or 'that is none'}")


class Shaking:
    """A client's end of TLS, whose bytes we move."""

    def __init__(self, context: ssl.SSLContext, name: str = HOST) -> None:
        self.sock: socket.socket
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def said(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    def shake(self, sock: socket.socket) -> None:
        """Raises OSError."""
        self.sock = sock
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(self._outgoing.read())
                if not (data := sock.recv(1 << 16)):
                    raise ConnectionResetError("hung up") from None
                self._incoming.write(data)
            else:
                sock.sendall(self._outgoing.read())
                return

    def new_keys(self) -> bytes:
        ask_for_new_keys(self.tls, 200)
        return self._outgoing.read()


def record(kind: int, content: bytes) -> bytes:
    return bytes((kind, 3, 3)) + len(content).to_bytes(2, "big") + content


def flood(sock: socket.socket, make: Callable[[], bytes], times: int) -> None:
    """Until the other end hangs up, or takes no more."""
    for _ in range(times):
        if not send(sock, make()) or not drain(sock):
            return
