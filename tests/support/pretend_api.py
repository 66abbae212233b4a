"""An API server's memory, for tests of the operator's loop that need none of its processes: what `Kube` is to the operator.

tests/contract/kube holds it against a real one. What it lacks: schemas, rights and namespaces, for which a test says what is refused; and
lists in pages.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import msgspec

from snakepit_operator.kube import EVENTS, LEASES, PODS, POOLS, KubeError, Object, Resource

UNTIL_NOW = "2026-11-28T00:00:00Z"
TERMINATING = KubeError(403, "Forbidden", "namespace default is being terminated", ("NamespaceTerminating",))
NAMESPACE = "default"

Patch = dict[str, Any]
Pairs = list[tuple[str, str | None]]
T = TypeVar("T")


def copied(value: T) -> T:
    """As it comes out of JSON, which is what goes over the wire."""
    return cast(T, msgspec.json.decode(msgspec.json.encode(value))) if isinstance(value, (dict, list, tuple)) else value


class PretendApi:
    """`refuse` and `refuse_events`: what every creation of a pod, or event, is answered with.

    `asked` counts creations of each kind, refused ones too.
    """

    def __init__(self, *pools: Object) -> None:
        self._objects: dict[tuple[str, str], dict[str, Object]] = {}
        self._applied: dict[tuple[str, str], Object] = {}
        self._numbers = itertools.count(1)
        self.refuse: KubeError | None = None
        self.refuse_events: KubeError | None = None
        self.asked: dict[str, int] = {}
        for each in pools:
            self.of(POOLS.plural)[each["metadata"]["name"]] = {**each, "metadata": {"resourceVersion": self._next(), **each["metadata"]}}

    # ---- what a test sees, and changes as others would

    def of(self, plural: str, namespace: str = NAMESPACE) -> dict[str, Object]:
        """The objects of that kind themselves, by name."""
        return self._objects.setdefault((plural, namespace), {})

    def told(self) -> list[tuple[str, str]]:
        """Type and reason of each event."""
        return [(each["type"], each["reason"]) for each in self.of("events").values()]

    def reason(self, pool: str = "digits") -> str:
        """The pool's one word."""
        return str(self.of(POOLS.plural)[pool]["status"]["reason"])

    # ---- what the operator asks

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return self._given(self._found(resource, namespace, name))

    async def list(self, resource: Resource, namespace: str | None, selector: str = "", fields: str = "") -> list[Object]:
        kinds = sorted(key for key in self._objects if key[0] == resource.plural and namespace in (None, key[1]))
        labels, values = list(_pairs(selector)), list(_pairs(fields))
        found = (each for key in kinds for _, each in sorted(self._objects[key].items()))
        listed = [self._given(each) for each in found if _labelled(each, labels) and _has(each, values)]
        return [_with_node_alone(each) for each in listed] if resource is PODS else listed

    async def revision(self, resource: Resource, namespace: str | None) -> int:
        return int(self._next())

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        self.asked[resource.plural] = self.asked.get(resource.plural, 0) + 1
        refusal = {PODS: self.refuse, EVENTS: self.refuse_events}.get(resource)
        if refusal is not None:
            raise refusal
        name = body["metadata"]["name"]
        if name in self.of(resource.plural, namespace):
            raise KubeError(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        return self._make(resource, namespace, name, body)

    async def replace(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Of leases alone, one that isn't there is made."""
        version = body["metadata"].get("resourceVersion", "")
        if resource is LEASES and name not in self.of(resource.plural, namespace):
            _check({"metadata": {}}, version)
            return self._make(resource, namespace, name, body)
        found = self._found(resource, namespace, name)
        _check(found, version)
        return self._write(resource, found, {**copied(body), "metadata": _merged(found["metadata"], body["metadata"])})

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str = "", grace: int | None = None) -> None:
        """A pod that is on a node stays, as one that is going: its kubelet ends it, which is the test."""
        found = self.of(resource.plural, namespace).get(name)
        if found is None or uid not in ("", found["metadata"].get("uid")):
            return
        if resource is PODS and (found.get("spec") or {}).get("nodeName"):
            self._write(resource, found, _merged(found, {"metadata": {"deletionTimestamp": self.stamp()}}))
        else:
            del self.of(resource.plural, namespace)[name]

    async def apply(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """What was applied before and no more is goes, unless somebody has changed it; what others wrote stays."""
        found = self.of(resource.plural, namespace).get(name)
        if found is None:
            made = self._make(resource, namespace, name, body)
            self._dropped("", made, body)
            return made
        return self._write(resource, found, _merged(_merged(found, self._dropped("", found, body)), body))

    async def apply_status(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """As `apply`, also of each condition."""
        found = self._found(resource, namespace, name)
        _check(found, body["metadata"].get("resourceVersion", ""))
        before, status = _by_type(found.get("status") or {}), _by_type(body["status"])
        after = _merged(_merged(before, self._dropped("status", found, status, before)), status)
        return self._write(resource, found, {**found, "status": {**after, "conditions": list(after["conditions"].values())}})

    async def merge_status(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        found = self._found(resource, namespace, name)
        _check(found, body.get("metadata", {}).get("resourceVersion", ""))
        return self._write(resource, found, _merged(found, {"status": body["status"]}))

    async def merge(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        found = self._found(resource, namespace, name)
        _check(found, body.get("metadata", {}).get("resourceVersion", ""))
        patch = {key: value for key, value in body.items() if resource is not POOLS or key != "status"}
        return self._write(resource, found, _merged(found, patch))

    # ---- its memory

    def _dropped(self, part: str, of: Object, after: Object, before: Object | None = None) -> Patch:
        """A patch that removes what was applied the last time and isn't now. `before`: that part, as it is."""
        key = of["metadata"]["uid"], part
        applied, self._applied[key] = self._applied.get(key, {}), copied(after)
        return _dropped(applied, after, of if before is None else before)

    def stamp(self) -> str:
        """What it takes for the present time."""
        return UNTIL_NOW

    def _next(self) -> str:
        return str(next(self._numbers))

    def _found(self, resource: Resource, namespace: str, name: str) -> Object:
        try:
            return self.of(resource.plural, namespace)[name]
        except KeyError:
            raise KubeError(404, "NotFound", f'{resource.plural} "{name}" not found') from None

    def _make(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        made = copied(body)
        own = {"name": name, "namespace": namespace, "creationTimestamp": self.stamp(), "resourceVersion": self._next()}
        made["metadata"] = {**made["metadata"], **own, "uid": f"uid-{own['resourceVersion']}"}
        if resource is POOLS:
            made.pop("status", None)
            made["metadata"]["generation"] = 1
        if resource is PODS:
            made["status"] = {"phase": "Pending"}
        self.of(resource.plural, namespace)[name] = made
        return self._given(made)

    def _write(self, resource: Resource, before: Object, after: Object) -> Object:
        """The same object again is no new version; a pool's new spec is a new generation."""
        metadata = after["metadata"] = {**after["metadata"], "resourceVersion": before["metadata"].get("resourceVersion", "")}
        if resource is POOLS and after.get("spec") != before.get("spec"):
            metadata["generation"] = before["metadata"].get("generation", 0) + 1
        if after != before:
            metadata["resourceVersion"] = self._next()
        self.of(resource.plural, metadata.get("namespace", NAMESPACE))[metadata["name"]] = after
        return self._given(after)

    def _given(self, found: Object) -> Object:
        """What somebody who asks gets."""
        return copied(found)


def _with_node_alone(pod: Object) -> Object:
    return {**pod, "spec": {name: value for name, value in pod["spec"].items() if name == "nodeName"}}


def _check(found: Object, version: str) -> None:
    if version and version != found["metadata"].get("resourceVersion", ""):
        raise KubeError(409, "Conflict", "the object has been modified; please apply your changes to the latest version")


def _pairs(selector: str) -> Iterator[tuple[str, str | None]]:
    """None: of any value."""
    for term in filter(None, selector.split(",")):
        name, equals, value = term.partition("=")
        if name.startswith("!") or name.endswith("!") or " " in term:
            raise NotImplementedError(f"the pretend API server knows only NAME=VALUE and NAME, not {term}")
        yield name, value.lstrip("=") if equals else None


def _labelled(found: Object, wanted: Pairs) -> bool:
    labels = found["metadata"].get("labels") or {}
    return all(name in labels if value is None else labels.get(name) == value for name, value in wanted)


def _has(found: Object, wanted: Pairs) -> bool:
    def at(path: str) -> Any:
        value: Any = found
        for name in path.split("."):
            value = (value or {}).get(name)
        return value

    return all(at(path) == value for path, value in wanted)


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged, null removes, all else is replaced."""
    if not isinstance(patch, dict):
        return copied(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _dropped(before: Object, after: Object, found: Object) -> Patch:
    """A patch that removes the fields of `before` that `after` hasn't, and nobody has changed."""
    patch: Patch = {name: None for name in before.keys() - after.keys() if found.get(name) == before[name]}
    for name in before.keys() & after.keys() & found.keys():
        if all(isinstance(each[name], dict) for each in (before, after, found)):
            patch[name] = _dropped(before[name], after[name], found[name])
    return patch


def _by_type(status: Object) -> Object:
    return {**status, "conditions": {each["type"]: each for each in status.get("conditions") or ()}}
