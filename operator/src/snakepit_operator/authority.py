"""Certificates of control plane and gateways, and who has to know their authority: Secrets, ConfigMaps, and a file for our own links.

Only the leader does it. What is due is decided in `certificates`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from snakepit._retry import Backoff
from snakepit_operator.certificates import AUTHORITY, authority_data, bundle, read, renewed, serving_data
from snakepit_operator.kube import CONFIG_MAPS, SECRETS, SERVICES, Kube, KubeError, Object
from snakepit_operator.pods import authority_map
from snakepit_operator.settings import Settings

ROUND_SECONDS = 10.0
"""What somebody has changed of it, or taken away, is seen within this time."""
RETRY_SECONDS = Backoff(0.5, ROUND_SECONDS)
"""After a failure: a new leader makes no capsule before it has been told."""
TOLD_SECONDS = 300.0
"""The ConfigMap is written this often, in case somebody has changed it."""

log = logging.getLogger(__name__)


class Authority:
    """`bundle`: the authorities, as PEM; empty: there is no TLS, or they aren't known yet. `known`: nobody has to wait for it."""

    def __init__(self, kube: Kube, settings: Settings, changed: Callable[[], None], now: Callable[[], float]) -> None:
        self._kube, self._settings, self._changed, self._now = kube, settings, changed, now
        self._told_at = 0.0
        self.bundle = ""
        self.known = asyncio.Event()
        if not settings.tls_service:
            self.known.set()

    async def run(self) -> None:
        """Until cancelled; without TLS there is nothing to do."""
        problem, failed = "", 0
        while self._settings.tls_service:
            try:
                await self.round()
                problem, failed = "", 0
            except (KubeError, OSError, ValueError) as error:
                if str(error) != problem:
                    log.warning("the control plane's certificate is left as it is: %s", error)
                problem, failed = str(error), failed + 1
            await asyncio.sleep(RETRY_SECONDS.seconds(failed) if failed else ROUND_SECONDS)

    async def round(self) -> None:
        """Make what is due, and tell. Raises KubeError, OSError, and ValueError where the Secret of somebody else says nothing."""
        bundle = await (self._made() if self._settings.tls_names else self._given())
        if bundle == self.bundle and self._now() - self._told_at < TOLD_SECONDS:
            return
        if self._settings.ca_file:
            _write(Path(self._settings.ca_file), bundle)
        namespace = self._settings.namespace
        body = authority_map(self._settings.agent.authority, bundle, namespace, await self._owner())
        await self._kube.apply(CONFIG_MAPS, namespace, body["metadata"]["name"], body)
        self._told_at = self._now()
        is_new, self.bundle = bundle != self.bundle, bundle
        self.known.set()
        if is_new:
            self._changed()

    async def _given(self) -> str:
        """Somebody else's Secret says it."""
        name = self._settings.tls_secret
        secret = await self._secret(name)
        if secret is None:
            raise ValueError(f"there is no Secret {self._settings.namespace}/{name} yet")
        if not (encoded := (secret.get("data") or {}).get(AUTHORITY)):
            raise ValueError(
                f"the Secret {self._settings.namespace}/{name} has no {AUTHORITY}, by which its certificate is checked: add it"
            )
        return base64.b64decode(encoded).decode()

    async def _made(self) -> str:
        """Our own Secrets: the authorities first, as what is signed by one that nobody has would be worth nothing."""
        settings, now = self._settings, datetime.fromtimestamp(self._now(), UTC)
        signing, serving = [await self._secret(name) for name in (settings.agent.authority, settings.tls_secret)]
        made = renewed(read(signing, serving), settings.tls_names, now)
        await self._keep(settings.agent.authority, "Opaque", authority_data(made), signing)
        await self._keep(settings.tls_secret, "kubernetes.io/tls", serving_data(made), serving)
        if settings.tls_gateway_names:
            held = await self._secret(settings.tls_gateway_secret)
            own = renewed(made._replace(serving=read(None, held).serving), settings.tls_gateway_names, now)
            await self._keep(settings.tls_gateway_secret, "kubernetes.io/tls", serving_data(own), held)
        return bundle(made)

    async def _keep(self, name: str, kind: str, data: dict[str, str], before: Object | None) -> None:
        """If it isn't so already, and unless another one that leads has just written it."""
        if (before or {}).get("data") == data:
            return
        version = {"resourceVersion": before["metadata"]["resourceVersion"]} if before else {}
        metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "snakepit-operator"}, "ownerReferences": [await self._owner()]}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {**metadata, **version}, "type": kind, "data": data}
        await self._kube.apply(SECRETS, self._settings.namespace, name, body)
        log.info("the Secret %s has what is due", name)

    async def _secret(self, name: str) -> Object | None:
        try:
            return await self._kube.get(SECRETS, self._settings.namespace, name)
        except KubeError as error:
            if error.missing:
                return None
            raise

    async def _owner(self) -> Object:
        """What the release's own are taken away with: the Service that the certificate is for."""
        name = self._settings.tls_service
        service = await self._kube.get(SERVICES, self._settings.namespace, name)
        return {"apiVersion": "v1", "kind": "Service", "name": name, "uid": service["metadata"]["uid"]}


def _write(path: Path, text: str) -> None:
    """Whoever reads it meanwhile reads all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)
