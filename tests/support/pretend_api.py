"""An API server's memory for tests of the operator's loop: pools, pods and events of one namespace, and refusals that a test asks for.

It is no API server: tests/e2e plays the same scenes on a real one.
"""

from __future__ import annotations

import copy
from typing import Any

from snakepit_operator.kube import EVENTS, PODS, POOLS, KubeError

Object = dict[str, Any]

UNTIL_NOW = "2026-11-28T00:00:00Z"
TERMINATING = KubeError(403, "Forbidden", "namespace default is being terminated", ("NamespaceTerminating",))


class PretendApi:
    """`refuse` and `refuse_events`: what every creation of a pod, or event, is answered with.

    `asked` counts creations of each kind, refused ones too.
    """

    def __init__(self, *pools: Object) -> None:
        self.objects: dict[str, dict[str, Object]] = {"snakepools": {each["metadata"]["name"]: each for each in pools}}
        self.refuse: KubeError | None = None
        self.refuse_events: KubeError | None = None
        self.asked: dict[str, int] = {}
        self.born = 0

    def of(self, plural: str) -> dict[str, Object]:
        return self.objects.setdefault(plural, {})

    async def get(self, resource: Any, namespace: str, name: str) -> Object:
        found = self.of(resource.plural).get(name)
        if found is None:
            raise KubeError(404, "NotFound", f"{resource.plural} {name} not found")
        return copy.deepcopy(found)

    async def list(self, resource: Any, namespace: str | None, selector: str = "", fields: str = "") -> list[Object]:
        return list(self.of(resource.plural).values())

    async def create(self, resource: Any, namespace: str, body: Object) -> Object:
        self.asked[resource.plural] = self.asked.get(resource.plural, 0) + 1
        refusal = {PODS: self.refuse, EVENTS: self.refuse_events}.get(resource)
        if refusal is not None:
            raise refusal
        name = body["metadata"]["name"]
        if name in self.of(resource.plural):
            raise KubeError(409, "AlreadyExists", f"{name} is there")
        self.born += 1
        metadata = {**body["metadata"], "uid": f"uid-{self.born}", "creationTimestamp": UNTIL_NOW}
        made = self.of(resource.plural)[name] = {**body, "metadata": metadata}
        return made

    async def delete(self, resource: Any, namespace: str, name: str, uid: str = "") -> None:
        self.of(resource.plural).pop(name, None)

    async def apply(self, resource: Any, namespace: str, name: str, body: Object) -> Object:
        self.of(resource.plural)[name] = body
        return body

    async def merge_status(self, resource: Any, namespace: str, name: str, status: Object, version: str = "") -> Object:
        found = self.of(resource.plural)[name]
        if version and version != found["metadata"].get("resourceVersion", ""):
            raise KubeError(409, "Conflict", "the object has been modified")
        self.born += 1
        found["metadata"]["resourceVersion"] = str(self.born)
        merged = {**found.get("status", {}), **status}
        found["status"] = {key: value for key, value in merged.items() if value is not None}
        return found

    async def merge(self, resource: Any, namespace: str, name: str, body: Object) -> Object:
        self.of(resource.plural)[name].update(body)
        return self.of(resource.plural)[name]

    def told(self) -> list[tuple[str, str]]:
        """Type and reason of each event."""
        return [(each["type"], each["reason"]) for each in self.of("events").values()]

    def reason(self, pool: str = "digits") -> str:
        """The pool's one word."""
        return str(self.of(POOLS.plural)[pool]["status"]["reason"])
