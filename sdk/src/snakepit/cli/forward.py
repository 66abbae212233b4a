"""Reaches a release in a cluster: kubectl forwards a local port to its Service, so that every login works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from snakepit._wire.trust import OFF
from snakepit.cli.config import Kube
from snakepit.cli.kubectl import END_SECONDS, Kubectl, asked, program, started
from snakepit.cli.release import PORT, Service, chosen, services
from snakepit.errors import ServerUnavailable

TOKEN_SECONDS = 3600.0
FORWARD_SECONDS = 60.0

_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ->")


class Forward(msgspec.Struct, frozen=True):
    """A local port that leads to a release. `token_file` is what calls over it are to bring; `ca_file` and `server_name` are for the
    client that dials it."""

    address: str
    token_file: str | None
    ca_file: str
    server_name: str
    kubectl: Kubectl

    @property
    def is_open(self) -> bool:
        """Whether kubectl still runs."""
        return self.kubectl.process.returncode is None

    async def ended(self) -> str:
        """Wait until it has ended, and say why."""
        status = await self.kubectl.process.wait()
        return f"kubectl's port-forward has ended: {await self.kubectl.last() or f'status {status}'}"


@contextlib.asynccontextmanager
async def forwarded(kube: Kube, local_port: int = 0, *, with_token: bool = False) -> AsyncIterator[Forward]:
    """Forward a port to the release until the block is left, however it is left; `with_token`: and have a token, if it takes any.

    Raises ServerUnavailable, and InvalidArguments where several releases are meant.
    """
    kubectl = program(kube)
    service = chosen(await services(kubectl, kube), kube)
    async with to_service(kubectl, service, kube, local_port, with_token=with_token) as forward:
        yield forward


@contextlib.asynccontextmanager
async def to_service(
    kubectl: list[str], service: Service, kube: Kube, local_port: int = 0, *, with_token: bool = False
) -> AsyncIterator[Forward]:
    """The same, to this Service. Raises ServerUnavailable."""
    to = f"service/{service.name}"
    async with (
        login(kubectl, service, kube, with_token=with_token) as (ca_file, token_file),
        forwarding(kubectl, service, to, local_port) as (running, port),
    ):
        yield Forward(f"127.0.0.1:{port}", token_file, ca_file, service.server_name, running)


@contextlib.asynccontextmanager
async def forwarding(kubectl: list[str], service: Service, to: str, local_port: int) -> AsyncIterator[tuple[Kubectl, int]]:
    """A kubectl that forwards that local port (0: any) to `to`, a Service or a pod of the release. Raises ServerUnavailable."""
    port = service.port if to.startswith("service/") else PORT
    words = ["port-forward", "-n", service.namespace, to, f"{local_port or ''}:{port}", "--address", "127.0.0.1"]
    async with started([*kubectl, *words]) as running:
        if (found := await _port(running)) is None:
            await _over(running)
            why = await running.last() or "it says nothing"
            raise ServerUnavailable(f"kubectl can't forward a port to {service.namespace}/{to.removeprefix('service/')}: {why}")
        running.hush()  # From now on it asks for nothing.
        async with _meanwhile(_drop(running.output), "kubectl's output"):
            yield running, found


async def _over(running: Kubectl) -> None:
    """It forwards nothing, and has ended, or is to. One that ends by itself isn't killed: asyncio warns where a signal comes too late."""
    if running.output.at_eof():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await running.process.wait()
                return
    with contextlib.suppress(ProcessLookupError):
        running.process.kill()


async def _port(running: Kubectl) -> int | None:
    """Wait until it forwards a port; None: it has ended, or says nothing."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FORWARD_SECONDS):
            while line := await running.output.readline():
                if found := _FORWARDING.search(line):
                    return int(found[1])
    return None


async def _drop(output: asyncio.StreamReader) -> None:
    """What kubectl still says: with a full pipe it would wait for us."""
    while await output.read(4096):
        pass


@contextlib.asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Do this until the block is left."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def login(kubectl: list[str], service: Service, kube: Kube, *, with_token: bool) -> AsyncIterator[tuple[str, str | None]]:
    """The CA's certificates, and a token that is made anew in time, as far as the release has such. Raises ServerUnavailable."""
    with tempfile.TemporaryDirectory(prefix="snakepit-") as folder:
        ca_file = await _fetch_ca(kubectl, service, Path(folder) / "ca.crt") if service.ca else OFF
        if not (with_token and service.audience):
            yield ca_file, None
            return
        file = Path(folder) / "token"
        await _make_token(kubectl, service, kube, file)
        async with _meanwhile(_make_forever(kubectl, service, kube, file), "make tokens"):
            yield ca_file, str(file)


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
