"""Reaches a release in a cluster: kubectl finds its Service and forwards a local port to it, so that every login works."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import msgspec

from snakepit.cli.config import Kube
from snakepit.errors import InvalidArguments, ServerUnavailable

SELECTOR = "app.kubernetes.io/part-of=snakepit,app.kubernetes.io/component=control-plane"
PORT = "grpc"

LOGIN_SECONDS = 300.0
"""kubectl may ask a person to log in."""

FORWARD_SECONDS = 60.0
END_SECONDS = 5.0

_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


class Service(msgspec.Struct, frozen=True):
    """A release's Service for callers."""

    namespace: str
    name: str
    release: str
    port: int


class Forward:
    """A local port that leads to a Service while kubectl runs."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Errors, port: int) -> None:
        self._process = process
        self._errors = errors
        self.address = f"127.0.0.1:{port}"

    def ended(self) -> str:
        """Why kubectl has ended, in words; empty: it runs."""
        return "" if self._process.poll() is None else self._how()

    def wait(self) -> str:
        """Until kubectl has ended: why."""
        self._process.wait()
        return self._how()

    def _how(self) -> str:
        return f"kubectl's port-forward has ended: {self._errors.last() or f'status {self._process.returncode}'}"


@contextlib.contextmanager
def forwarded(kube: Kube, local_port: int = 0) -> Iterator[Forward]:
    """A forward to the release until the block is left, however it is left. Raises ServerUnavailable, and InvalidArguments where
    several releases are meant."""
    program = shutil.which("kubectl")
    if program is None:
        raise ServerUnavailable("there is no kubectl on the PATH, which --kube needs: install it, or give the address with --server")
    kubectl = [program, *(["--context", kube.context] if kube.context else [])]
    with _ended_by_signals():
        service = chosen(_services(kubectl, kube), kube)
        with _forwarding(kubectl, service, local_port) as forward:
            yield forward


def chosen(services: Sequence[Service], kube: Kube) -> Service:
    """The one that is meant: of the release that was named, or in the namespace that was named, or the only one."""
    found = [each for each in services if kube.release in (None, each.release, f"{each.namespace}/{each.release}")]
    if len(found) > 1:
        found = [each for each in found if each.namespace == kube.namespace] or found
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(f"{each.namespace}/{each.release}" for each in found or services))
    if found:
        raise InvalidArguments(f"there are several releases, {names}: say which with --release NAMESPACE/RELEASE, or with -n NAMESPACE")
    where = f"the context {kube.context}" if kube.context else "kubectl's current context"
    if services:
        raise ServerUnavailable(f"no release in {where} is named {kube.release!r}: there is {names}")
    raise ServerUnavailable(f"no release of Snakepit was found in {where}: is the chart installed there? (no Service has {SELECTOR})")


def services_of(listed: dict[str, Any]) -> list[Service]:
    """Out of kubectl's list. The headless Service is for agents."""
    found = []
    for item in listed.get("items", []):
        metadata, spec = item["metadata"], item["spec"]
        ports = [each["port"] for each in spec.get("ports", []) if each.get("name") == PORT]
        if spec.get("clusterIP") != "None" and ports:
            release = metadata.get("labels", {}).get("app.kubernetes.io/instance", metadata["name"])
            found.append(Service(metadata["namespace"], metadata["name"], release, ports[0]))
    return found


def _services(kubectl: list[str], kube: Kube) -> list[Service]:
    """Of all namespaces; who may not list those is asked for one."""
    words = ["get", "services", "-l", SELECTOR, "-o", "json"]
    text, problem = _ask([*kubectl, *words, "--all-namespaces"])
    if "forbidden" in problem.lower():
        text, problem = _ask([*kubectl, *words, *(["-n", kube.namespace] if kube.namespace else [])])
    if problem:
        raise ServerUnavailable(f"kubectl can't list the cluster's Services: {problem}")
    try:
        return services_of(msgspec.json.decode(text))
    except (msgspec.DecodeError, KeyError, AttributeError) as error:
        raise ServerUnavailable(f"kubectl's list of Services can't be read: {error!r}") from error


def _ask(argv: list[str]) -> tuple[bytes, str]:
    """Its output, and what went wrong, if anything, in one line."""
    with _started(argv) as process:
        errors = Errors(process)
        assert process.stdout is not None
        timer = threading.Timer(LOGIN_SECONDS, process.kill)
        timer.start()
        try:
            with process.stdout:
                text = process.stdout.read()
            code = process.wait()
        finally:
            timer.cancel()
        return text, (errors.last() or f"status {code}") if code else ""


@contextlib.contextmanager
def _forwarding(kubectl: list[str], service: Service, local_port: int) -> Iterator[Forward]:
    ports = f"{local_port or ''}:{service.port}"
    argv = [*kubectl, "port-forward", "-n", service.namespace, f"service/{service.name}", ports, "--address", "127.0.0.1"]
    with _started(argv) as process:
        errors = Errors(process)
        port = _port(process)
        if port is None:
            process.kill()
            process.wait()
            raise ServerUnavailable(
                f"kubectl can't forward a port to {service.namespace}/{service.name}: {errors.last() or 'it says nothing'}"
            )
        errors.hush()
        yield Forward(process, errors, port)


def _port(process: subprocess.Popen[bytes]) -> int | None:
    """The port that it listens on; None: it has ended, or says nothing. Its output is read on, else it would wait for us."""
    said: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if found := _FORWARDING.search(line.decode(errors="replace")):
                    said.put(int(found[1]))
        said.put(None)

    threading.Thread(target=read, name="kubectl's output", daemon=True).start()
    with contextlib.suppress(queue.Empty):
        return said.get(timeout=FORWARD_SECONDS)
    return None


@contextlib.contextmanager
def _started(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with the block. It may ask at the terminal, but never eats what is piped to us."""
    stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
    try:
        process = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise ServerUnavailable(f"{argv[0]} can't be run: {error.strerror}") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """TERM and HUP leave the block too, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- what kubectl says on standard error


PATIENCE_SECONDS = 2.0
"""A kubectl that runs for longer may be asking for something."""

_KEPT_BYTES = 8192
_END_SECONDS = 2.0


class Errors:
    """Of one process, from its start to its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._stream = process.stderr
        self._kept = b""
        self._unshown = b""
        self._hushed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="kubectl's errors", daemon=True)
        self._thread.start()

    def hush(self) -> None:
        """It asks for nothing any more."""
        self._hushed.set()

    def last(self) -> str:
        """The last line of a process that has ended, without kubectl's own `error:` before it."""
        self._thread.join(_END_SECONDS)
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ").removeprefix("Error from server ") if lines else ""

    def _read(self) -> None:
        with self._stream:
            self._copy(self._stream.fileno())

    def _copy(self, descriptor: int) -> None:
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while True:
            wait = max(0.0, patient_until - time.monotonic())
            ready, _, _ = select.select([descriptor], [], [], wait if wait else None)
            if ready:
                data = os.read(descriptor, 4096)
                if not data:
                    return
                self._kept = (self._kept + data)[-_KEPT_BYTES:]
                self._unshown = (self._unshown + data)[-_KEPT_BYTES:]
            if time.monotonic() >= patient_until and not self._hushed.is_set():
                sys.stderr.write(self._unshown.decode(errors="replace"))
                sys.stderr.flush()
                self._unshown = b""
