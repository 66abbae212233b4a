"""The Kubernetes API as far as the operator uses it: plain objects in, plain objects out. The only module that imports its client.

No retries: every caller is level-triggered and comes again. An answer that takes longer than REQUEST_SECONDS is an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

Object = dict[str, Any]

REQUEST_SECONDS = 10.0
PAGE = 500
"""Objects in one answer to a list."""

_MANAGER = {"fieldManager": "snakepit-operator"}
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


_NO_WEBHOOK = "failed calling webhook"
"""So begins what the API server says (as an internal error) of an admission webhook that doesn't answer."""


class KubeError(Exception):
    """The API server said no, or said nothing (`code` 0). `message` is its own sentence, `causes` are its own words for why."""

    def __init__(self, code: int, reason: str, message: str, causes: tuple[str, ...] = ()) -> None:
        super().__init__(message or reason)
        self.code = code
        self.reason = reason
        self.message = message or reason
        self.causes = causes

    @property
    def missing(self) -> bool:
        """There is no such object, or no such kind."""
        return self.code == 404

    @property
    def exists(self) -> bool:
        """An object of that name is there already."""
        return self.code == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """Somebody else has changed the object meanwhile."""
        return self.code == 409 and not self.exists

    @property
    def refused(self) -> bool:
        """The request itself is wrong or forbidden, or who must allow it doesn't answer: the same one will be refused again."""
        return (self.code in (400, 403, 422) or _NO_WEBHOOK in self.message) and not self.ending

    @property
    def ending(self) -> bool:
        """The namespace is being deleted: nothing can be made in it any more."""
        return "NamespaceTerminating" in self.causes


class Resource(NamedTuple):
    """One kind of object: `/api/v1/.../pods`."""

    root: str
    plural: str

    def path(self, namespace: str | None, name: str = "", sub: str = "") -> str:
        """`namespace` None: of all namespaces, or of none."""
        within = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{self.root}{within}/{self.plural}", name, sub) if part)


PODS = Resource("/api/v1", "pods")
EVENTS = Resource("/api/v1", "events")
CONFIG_MAPS = Resource("/api/v1", "configmaps")
SECRETS = Resource("/api/v1", "secrets")
SERVICES = Resource("/api/v1", "services")
REVIEWS = Resource("/apis/authorization.k8s.io/v1", "subjectaccessreviews")
LEASES = Resource("/apis/coordination.k8s.io/v1", "leases")
BUDGETS = Resource("/apis/policy/v1", "poddisruptionbudgets")
ROLE_BINDINGS = Resource("/apis/rbac.authorization.k8s.io/v1", "rolebindings")
NETWORK_POLICIES = Resource("/apis/networking.k8s.io/v1", "networkpolicies")
POOLS = Resource("/apis/snakepit.dev/v1alpha1", "snakepools")


class _Metadata(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    generation: int
    creationTimestamp: str
    deletionTimestamp: str
    labels: Object | None
    annotations: Object | None
    ownerReferences: list[Object] | None


class _PodSpec(TypedDict, total=False):
    nodeName: str


class _Pod(TypedDict, total=False):
    metadata: _Metadata
    spec: _PodSpec | None
    status: Object | None


class _Pool(TypedDict, total=False):
    metadata: _Metadata
    spec: Object | None
    status: Object | None


class _Pods(TypedDict, total=False):
    metadata: Object
    items: list[_Pod] | None


class _Pools(TypedDict, total=False):
    metadata: Object
    items: list[_Pool] | None


ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
LISTED: Mapping[Resource, msgspec.json.Decoder[Any]] = {PODS: msgspec.json.Decoder(_Pods), POOLS: msgspec.json.Decoder(_Pools)}
"""Of what is listed by the hundred, what nobody reads isn't kept: it would be most of the memory."""


_METHODS = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
"""Of HTTP, by verbs as RBAC has them."""

Told = Callable[[str, str, int, float], None]
"""`(verb, resource, code, seconds)` of a request that is over; code 0: it has no answer."""


class Kube:
    """A connection pool to one API server. Every method raises KubeError. `tell` hears of each request; kopf makes its own ones."""

    def __init__(self, client: ApiClient, tell: Told = lambda *_: None) -> None:
        self._client, self.tell = client, tell

    @classmethod
    async def connect(cls, tell: Told = lambda *_: None) -> Kube:
        """Connect by KUBECONFIG where it is set, else as the pod's service account."""
        configuration = Configuration()
        if named := os.environ.get("KUBECONFIG"):
            await config.load_kube_config(named, client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return cls(ApiClient(configuration), tell)

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """The object."""
        return await self._request("get", resource, resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str | None, selector: str = "", fields: str = "") -> list[Object]:
        """All objects there are now (a consistent read), page by page, with the fields of `LISTED`.

        `selector` is of labels, `fields` of fields.
        """
        items: list[Object] = []
        wanted = {"labelSelector": selector, "fieldSelector": fields}
        query = {"limit": str(PAGE), **{key: value for key, value in wanted.items() if value}}
        while True:
            page = await self._request("list", resource, resource.path(namespace), query, read=LISTED.get(resource, ANY))
            items += page.get("items") or []
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return items
            query["continue"] = more

    async def revision(self, resource: Resource, namespace: str | None) -> int:
        """The newest resourceVersion there is: it grows, unless an older state of everything has been restored."""
        page = await self._request("list", resource, resource.path(namespace), {"limit": "1"})
        return int(page["metadata"]["resourceVersion"])

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        """The object as created; a field that the API server doesn't know is refused, not dropped."""
        return await self._request("create", resource, resource.path(namespace), {**_MANAGER, "fieldValidation": "Strict"}, body)

    async def replace(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """The object as replaced; a resourceVersion in it must still be the newest."""
        return await self._request("update", resource, resource.path(namespace, name), _MANAGER, body)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str = "", grace: int | None = None) -> None:
        """Begin deletion; with `uid` only of that very object. One that is gone already is no error. `grace`: seconds, else its own."""
        body: Object = {"preconditions": {"uid": uid}} if uid else {}
        body |= {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            await self._request("delete", resource, resource.path(namespace, name), None, body)
        except KubeError as error:
            if not (error.missing or error.conflict):
                raise

    async def apply(self, resource: Resource, namespace: str, name: str, body: Object, part: str = "") -> Object:
        """Server-side apply, taking over conflicting fields. `part`: of an object that has several of ours, each with fields of its own."""
        manager = {"fieldManager": f"{_MANAGER['fieldManager']}/{part}"} if part else _MANAGER
        return await self._request("patch", resource, resource.path(namespace, name), {**manager, "force": "true"}, body, _APPLY)

    async def merge(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Merge-patch the object."""
        return await self._request("patch", resource, resource.path(namespace, name), _MANAGER, body, _MERGE)

    async def apply_status(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Server-side apply of the status that `body` has; with a resourceVersion in it only to that very state of the object."""
        return await self._request("patch", resource, resource.path(namespace, name, "status"), {**_MANAGER, "force": "true"}, body, _APPLY)

    async def merge_status(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Merge-patch the status that `body` has, a null removes its field; a resourceVersion in it counts as for `apply_status`."""
        return await self._request("patch", resource, resource.path(namespace, name, "status"), _MANAGER, body, _MERGE)

    async def _request(
        self,
        verb: str,
        resource: Resource,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
        read: msgspec.json.Decoder[Any] = ANY,
    ) -> Object:
        url = f"{path}?{urlencode(query)}" if query else path
        began, code = time.monotonic(), 0
        try:
            code, data = await self._answer(_METHODS[verb], url, body, content_type)
        finally:
            named = f"{resource.plural}/status" if path.endswith("/status") else resource.plural
            self.tell(verb, named, code, time.monotonic() - began)
        return said(code, data, read)

    async def _answer(self, method: str, url: str, body: Object | None, content_type: str) -> tuple[int, bytes]:
        """Status and body."""
        try:
            _, url, headers, payload, *_ = await self._client.param_serialize(
                method, url, header_params={"Accept": _JSON, "Content-Type": content_type}, body=body, auth_settings=["BearerToken"]
            )
            response = await self._client.call_api(method, url, headers, payload, _request_timeout=REQUEST_SECONDS)
            return response.status, await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(0, "Unreachable", f"the API server doesn't answer: {type(error).__name__} {error}") from error


def said(code: int, data: bytes, read: msgspec.json.Decoder[Any] = ANY) -> Object:
    """What an answer says. Raises KubeError for a refusal, and for what can't be read: a list of that is no empty list."""
    if code >= 300:
        raise _refusal(code, data)
    try:
        answer = read.decode(data or b"{}")
    except msgspec.DecodeError as error:
        raise KubeError(code, "Unreadable", f"what the API server answers can't be read: {error}") from error
    return answer if isinstance(answer, dict) else {}


def _refusal(code: int, data: bytes) -> KubeError:
    try:
        answer = ANY.decode(data or b"{}")
    except msgspec.DecodeError:
        answer = {"message": data[:200].decode(errors="replace")}
    causes = tuple(each.get("reason") or "" for each in (answer.get("details") or {}).get("causes") or ())
    return KubeError(code, answer.get("reason", ""), answer.get("message", f"HTTP {code}"), causes)
