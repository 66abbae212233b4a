"""Reaches a release in a cluster: kubectl finds its Service and forwards a local port to it, so that every login works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from snakepit._wire.trust import OFF
from snakepit.cli.config import Kube
from snakepit.errors import InvalidArguments, ServerUnavailable

SELECTOR = "app.kubernetes.io/part-of=snakepit,app.kubernetes.io/component=control-plane"
PORT = "grpc"
AUDIENCE = "snakepit.dev/audience"
CA = "snakepit.dev/ca"

TOKEN_SECONDS = 3600.0

LOGIN_SECONDS = 300.0
"""kubectl may ask a person to log in."""

FORWARD_SECONDS = 60.0
END_SECONDS = 5.0

PATIENCE_SECONDS = 2.0
"""A kubectl that runs for longer may be asking for something: what it says on standard error is shown from then on."""

MOST_BYTES = 64 * 1024 * 1024
"""Of what kubectl lists: some thousand pools with all of their status."""

_KEPT_BYTES = 8192
_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ->")


class Service(msgspec.Struct, frozen=True):
    """The Service of a release that callers use."""

    namespace: str
    name: str
    release: str
    port: int
    audience: str = ""
    """For whom callers' tokens are; empty: none are asked for."""
    ca: str = ""
    """The ConfigMap beside it that has its CA's certificate; empty: it has no TLS."""

    @property
    def server_name(self) -> str:
        """Whom its certificate names."""
        return f"{self.name}.{self.namespace}"


class Kubectl:
    """A kubectl that runs. `address` is that of the local port which it forwards, `token_file` what calls over it are to bring.

    `ca_file` and `server_name` are for the client that dials it.
    """

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.output = process.stdout
        self.address = ""
        self.token_file: str | None = None
        self.ca_file = OFF
        self.server_name: str | None = None
        self._errors = process.stderr
        self._kept = self._unshown = b""
        self._is_shown = False
        self._patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._show)
        self._listening = asyncio.create_task(self._listen(), name="kubectl's errors")
        self._forwarding: asyncio.Task[None] | None = None

    async def forward(self) -> bool:
        """Wait until it forwards a port; from then on it asks for nothing. Returns False where it has ended, or says nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FORWARD_SECONDS):
                while line := await self.output.readline():
                    if found := _FORWARDING.search(line):
                        self.address = f"127.0.0.1:{int(found[1])}"
                        self.hush()
                        self._forwarding = asyncio.create_task(self._read_on(), name="kubectl's output")
                        return True
        return False

    async def ended(self) -> str:
        """Wait until it has ended, and say why."""
        await self.process.wait()
        return f"kubectl's port-forward has ended: {await self.last() or f'status {self.process.returncode}'}"

    async def last(self) -> str:
        """The last line that kubectl wrote on standard error, without its own `error:`. It has ended, or soon does."""
        await asyncio.wait((self._listening,), timeout=PATIENCE_SECONDS)
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ").removeprefix("Error from server ") if lines else ""

    def hush(self) -> None:
        """Show no more of what kubectl says."""
        self._patience.cancel()
        self._is_shown = False

    async def end(self) -> None:
        """End kubectl, whatever it does now."""
        self.hush()
        readers = [each for each in (self._listening, self._forwarding) if each is not None]
        for each in readers:
            each.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self.process.communicate()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def _listen(self) -> None:
        while data := await self._errors.read(4096):
            self._kept = (self._kept + data)[-_KEPT_BYTES:]
            self._unshown = (self._unshown + data)[-_KEPT_BYTES:]
            if self._is_shown:
                self._show()

    async def _read_on(self) -> None:
        """Drop what kubectl still says: with a full pipe it would wait for us."""
        while await self.output.read(4096):
            pass

    def _show(self) -> None:
        self._is_shown = True
        sys.stderr.write(self._unshown.decode(errors="replace"))
        sys.stderr.flush()
        self._unshown = b""


def program(kube: Kube) -> list[str]:
    """The words that a command line of kubectl begins with. Raises ServerUnavailable where there is none."""
    found = shutil.which("kubectl")
    if found is None:
        raise ServerUnavailable("there is no kubectl on the PATH, which --kube needs: install it, or give the address with --server")
    return [found, *(["--context", kube.context] if kube.context else [])]


@contextlib.asynccontextmanager
async def forwarded(kube: Kube, local_port: int = 0, *, with_token: bool = False) -> AsyncIterator[Kubectl]:
    """Forward a port to the release until the block is left, however it is left; `with_token`: and have a token, if it takes any.

    Raises ServerUnavailable, and InvalidArguments where several releases are meant.
    """
    kubectl = program(kube)
    service = chosen(await services(kubectl, kube), kube)
    ports = f"{local_port or ''}:{service.port}"
    words = ["port-forward", "-n", service.namespace, f"service/{service.name}", ports, "--address", "127.0.0.1"]
    async with _files(kubectl, service, kube, with_token=with_token) as (ca_file, token_file), started([*kubectl, *words]) as running:
        running.token_file, running.ca_file, running.server_name = token_file, ca_file, service.server_name
        if not await running.forward():
            with contextlib.suppress(ProcessLookupError):
                running.process.kill()
            why = await running.last() or "it says nothing"
            raise ServerUnavailable(f"kubectl can't forward a port to {service.namespace}/{service.name}: {why}")
        yield running


@contextlib.asynccontextmanager
async def _files(kubectl: list[str], service: Service, kube: Kube, *, with_token: bool) -> AsyncIterator[tuple[str, str | None]]:
    """The CA's certificates, and a token that is made anew in time, as far as the release has such. Raises ServerUnavailable."""
    with tempfile.TemporaryDirectory(prefix="snakepit-") as folder:
        ca_file = await _fetch_ca(kubectl, service, Path(folder) / "ca.crt") if service.ca else OFF
        if not (with_token and service.audience):
            yield ca_file, None
            return
        file = Path(folder) / "token"
        await _make_token(kubectl, service, kube, file)
        renewing = asyncio.create_task(_make_forever(kubectl, service, kube, file), name="make tokens")
        try:
            yield ca_file, str(file)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)


async def _fetch_ca(kubectl: list[str], service: Service, file: Path) -> str:
    if given := os.environ.get("SNAKEPIT_CA_FILE"):
        return given
    text, problem = await asked([*kubectl, "get", "configmap", service.ca, "-n", service.namespace, "-o", "json"])
    if problem:
        what = f"kubectl can't read the ConfigMap {service.namespace}/{service.ca}, which has the release's CA"
        raise ServerUnavailable(f"{what}: {problem}; give SNAKEPIT_CA_FILE")
    await asyncio.to_thread(file.write_text, str(msgspec.json.decode(text)["data"]["ca.crt"]))
    return str(file)


async def _make_forever(kubectl: list[str], service: Service, kube: Kube, file: Path) -> None:
    while True:
        await asyncio.sleep(TOKEN_SECONDS / 2)
        with contextlib.suppress(ServerUnavailable):  # The token of before is good for as long again.
            await _make_token(kubectl, service, kube, file)


async def _make_token(kubectl: list[str], service: Service, kube: Kube, file: Path) -> None:
    namespace, _, account = (kube.service_account or "default/default").rpartition("/")
    words = ["create", "token", account, "-n", namespace, "--audience", service.audience, "--duration", f"{TOKEN_SECONDS:.0f}s"]
    text, problem = await asked([*kubectl, *words])
    if problem:
        what = f"kubectl can't make a token of the service account {namespace}/{account}, by which calls are made"
        raise ServerUnavailable(f"{what}: {problem}; name one with --service-account and -n, or give SNAKEPIT_TOKEN_FILE")
    new = file.with_suffix(".new")
    new.write_bytes(text.strip())
    new.replace(file)


def chosen(services: Sequence[Service], kube: Kube) -> Service:
    """Choose the Service that is meant: of the release that was named, in the namespace that was named, or the only one."""
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
    """Read kubectl's list. The headless Service is left out: it is for agents."""
    found = []
    for item in listed.get("items", []):
        metadata, spec = item["metadata"], item["spec"]
        ports = [each["port"] for each in spec.get("ports", []) if each.get("name") == PORT]
        if spec.get("clusterIP") != "None" and ports:
            release = metadata.get("labels", {}).get("app.kubernetes.io/instance", metadata["name"])
            annotations = metadata.get("annotations") or {}
            said = (annotations.get(name, "") for name in (AUDIENCE, CA))
            found.append(Service(metadata["namespace"], metadata["name"], release, ports[0], *said))
    return found


async def services(kubectl: list[str], kube: Kube) -> list[Service]:
    """List the Services of all namespaces, or of one where the account may not list all."""
    words = ["get", "services", "-l", SELECTOR, "-o", "json"]
    text, problem = await asked([*kubectl, *words, "--all-namespaces"])
    if "forbidden" in problem.lower():
        text, problem = await asked([*kubectl, *words, *(["-n", kube.namespace] if kube.namespace else [])])
    if problem:
        raise ServerUnavailable(f"kubectl can't list the cluster's Services: {problem}")
    try:
        return services_of(msgspec.json.decode(text))
    except (msgspec.DecodeError, KeyError, AttributeError) as error:
        raise ServerUnavailable(f"kubectl's list of Services can't be read: {error!r}") from error


async def asked(argv: list[str], seconds: float = LOGIN_SECONDS) -> tuple[bytes, str]:
    """Run kubectl to its end. Returns its output and, where something went wrong, what, in one line."""
    async with started(argv) as kubectl:
        try:
            async with asyncio.timeout(seconds):
                text = await _read(kubectl.output)
                if len(text) > MOST_BYTES:
                    return b"", f"it says more than {MOST_BYTES >> 20} MiB"
                code = await kubectl.process.wait()
        except TimeoutError:
            return b"", f"it has not answered for {seconds:.0f} s"
        return text, (await kubectl.last() or f"status {code}") if code else ""


async def _read(output: asyncio.StreamReader) -> bytes:
    """All of it, or a little more than MOST_BYTES."""
    text = bytearray()
    while (data := await output.read(65536)) and len(text) <= MOST_BYTES:
        text += data
    return bytes(text)


@contextlib.asynccontextmanager
async def started(argv: list[str]) -> AsyncIterator[Kubectl]:
    """Start a kubectl that ends with the block. It may ask at the terminal, but never eats what is piped to us."""
    stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise ServerUnavailable(f"{argv[0]} can't be run: {error.strerror}") from error
    kubectl = Kubectl(process)
    try:
        yield kubectl
    finally:
        await kubectl.end()
