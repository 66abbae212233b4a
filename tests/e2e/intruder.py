"""An adapter that tries what it must not be able to do; it gets into the pods by a ConfigMap.

It has Python's standard library alone, so it speaks HTTP/2 by hand, as far as one message and its answer need it.
"""

from __future__ import annotations

import base64
import ctypes
import os
import re
import socket
import ssl
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from snakepit import Adapter, tool

SECONDS = 10.0
JWT = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.")
HEADERS, DATA, SETTINGS, PING, GOAWAY, ACK, END_STREAM, END_HEADERS = 1, 0, 4, 6, 7, 1, 1, 4


class Intruder(Adapter):
    @tool
    def tokens(self) -> list[str]:
        """Files that look like tokens, wherever this process can read; and mounts of Secrets."""
        found = [str(path) for root in ("/var/run", "/run", "/etc", "/tmp", "/code") for path in _files(Path(root)) if _is_token(path)]
        return found + [line for line in Path("/proc/mounts").read_text().splitlines() if "secret" in line]

    @tool
    def environments(self) -> dict[str, list[str]]:
        """The variables of each process that this one can read, by its command line."""
        return {" ".join(_words(pid, "cmdline")): _words(pid, "environ") for pid in _processes()}

    @tool
    def reach(self) -> dict[str, Any]:
        """What secrets are in the files of each process that it sees, by its command line; or why it can't tell."""
        got: dict[str, Any] = {}
        for pid in _processes():
            words = " ".join(_words(pid, "cmdline"))
            try:
                got[words] = sorted(each.name for each in Path(f"/proc/{pid}/root/var/run/secrets").iterdir())
            except OSError as error:
                got[words] = type(error).__name__
        return got

    @tool
    def memories(self) -> dict[str, list[str]]:
        """Whose memory it can open, of the processes that it sees, and whose it can't: their command lines. Its own it can."""
        said: dict[str, list[str]] = {"opened": [], "refused": []}
        for pid in _processes():
            words = " ".join(_words(pid, "cmdline"))
            try:
                Path(f"/proc/{pid}/mem").open("rb").close()
                said["opened"].append("its own" if pid == os.getpid() else words)
            except PermissionError:
                said["refused"].append(words)
            except OSError:  # it has ended
                continue
        return said

    @tool
    def run_folder(self) -> dict[str, Any]:
        """What is in the folder that it shares with the agent, and what the agent's socket says to a second keeper."""
        folder = Path("/run/snakepit")
        listed = {each.name: oct(each.stat().st_mode & 0o7777) for each in folder.iterdir()}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(SECONDS)
            sock.connect(str(folder / "control.sock"))
            try:
                answer = sock.recv(65536).decode("latin-1")
            except ConnectionError:
                answer = ""
        return {"listed": listed, "answer": answer}

    @tool
    def write(self) -> dict[str, str]:
        """What happens when it writes to the root file system."""
        said = {}
        for name in ("/x", "/etc/x", "/opt/x", "/usr/local/x", "/code/x", "/var/run/x"):
            try:
                Path(name).write_text("x")
                said[name] = "written"
            except OSError as error:
                said[name] = os.strerror(error.errno or 0)
        Path("/tmp/x").write_text("x")
        return said

    @tool
    def privileges(self) -> dict[str, str]:
        """Who it is, as the kernel has it, and whether it can become root."""
        lines = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
        status = {key: value.strip() for key, _, value in lines}
        libc = ctypes.CDLL(None, use_errno=True)
        became = "root" if libc.setuid(0) == 0 else os.strerror(ctypes.get_errno())
        return {**{key: status[key] for key in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}, "setuid": became}

    @tool
    def say(self, address: str, method: str, message: str, authorization: str = "") -> str:
        """Open a gRPC stream, send one message (base64), and give all that was answered, unread."""
        with _connected(address) as sock:
            _send(sock, address, method, base64.b64decode(message), authorization)
            return _answer(sock)

    @tool
    def dial(self, addresses: list[str]) -> dict[str, str]:
        """What becomes of a connection to each."""
        return dialled(addresses)

    @tool
    def look_up(self, name: str) -> str:
        """Its address."""
        return socket.gethostbyname(name)

    @tool
    def show_ticket(self, address: str, ticket: str) -> str:
        """What the port for lanes answers to a ticket that was made up."""
        with _connected(address) as sock:
            sock.sendall(bytes.fromhex(ticket))
            try:
                return sock.recv(64).hex()
            except ConnectionError:
                return ""


def _files(root: Path) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(root) for name in names]


def _is_token(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size < 65536 and JWT.search(path.read_bytes()) is not None
    except OSError:
        return False


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def _words(pid: int, name: str) -> list[str]:
    try:
        return [word for word in Path(f"/proc/{pid}/{name}").read_text(errors="replace").split("\0") if word]
    except OSError:
        return []


def dialled(addresses: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor(len(addresses)) as all_at_once:
        return dict(zip(addresses, all_at_once.map(_dialled, addresses), strict=True))


def _dialled(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # It doesn't mind who hears it.
    context.set_alpn_protocols(["h2"])
    sock = context.wrap_socket(socket.create_connection((host, int(port)), timeout=SECONDS))
    sock.settimeout(SECONDS)
    return sock


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def _header(name: str, value: str) -> bytes:
    """Literal, never indexed, not compressed (RFC 7541 §6.2.3)."""
    return b"\x10" + b"".join(_length(len(each)) + each.encode() for each in (name, value))


def _length(value: int) -> bytes:
    if value < 127:
        return bytes([value])
    rest, out = value - 127, [127]
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes([*out, rest])


def _send(sock: socket.socket, address: str, method: str, message: bytes, authorization: str) -> None:
    headers = {":method": "POST", ":scheme": "http", ":path": f"/{method}", ":authority": address, "te": "trailers"}
    headers["content-type"] = "application/grpc"
    if authorization:
        headers["authorization"] = authorization
    block = b"".join(_header(name, value) for name, value in headers.items())
    body = b"\0" + struct.pack(">I", len(message)) + message
    frames = [_frame(SETTINGS, 0, 0, b""), _frame(HEADERS, END_HEADERS, 1, block), _frame(DATA, 0, 1, body)]
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frames))


def _answer(sock: socket.socket) -> str:
    """Until there is a message, or the stream has ended."""
    said, reader = b"", sock.makefile("rb")
    while len(head := reader.read(9)) == 9:
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        body = reader.read(size)
        if kind == SETTINGS and not flags & ACK:
            sock.sendall(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            sock.sendall(_frame(PING, ACK, 0, body))
        elif kind in (HEADERS, DATA, GOAWAY):
            said += body
            if kind != HEADERS or flags & END_STREAM:
                break
    return said.decode("latin-1")
