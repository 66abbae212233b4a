"""What of a pool's template no capsule can have, in a sentence that names the field: nothing of it gets lost without a word. Pure.

It looks at what the operator itself reads or writes. Of all the rest the API server judges when it gets the pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

PREFIX = "snakepit.dev/"
"""Of labels and annotations by which the operator knows its pods."""
RUN_DIR_VARIABLE, TOKEN_VOLUME = "SNAKEPIT_RUN_DIR", "snakepit-token"
"""What says to the worker where its agent is; and what proves to the control plane that the agent is one."""
AGENT_UID = 65532
"""The agent's alone: the kernel lets whoever has the same one read its memory, and with that its token."""

Object = dict[str, Any]


class _Container(Struct, rename="camel"):
    name: str | None = None
    image: str | None = None
    env: list[Object] | None = None
    volume_mounts: list[Object] | None = None
    security_context: Object | None = None


class _Spec(Struct, rename="camel"):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    volumes: list[Object] | None = None
    image_pull_secrets: list[Object] | None = None
    security_context: Object | None = None
    share_process_namespace: bool | None = None
    host_pid: bool | None = msgspec.field(default=None, name="hostPID")


class _Metadata(Struct):
    labels: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class _Template(Struct):
    metadata: _Metadata | None = None
    spec: _Spec | None = None


def problem(template: Mapping[str, Any]) -> str | None:
    """The first thing that can't be; None: there is none."""
    try:
        read = msgspec.convert(template, _Template)
    except msgspec.ValidationError as error:
        return f"spec.template is no PodTemplateSpec: {str(error).replace('$.', 'spec.template.')}"
    return next(_faults(template.get("metadata") or {}, read.spec or _Spec()), None)


def _faults(metadata: Object, spec: _Spec) -> Iterator[str]:
    yield from _of_metadata(metadata)
    for name, shared in (("shareProcessNamespace", spec.share_process_namespace), ("hostPID", spec.host_pid)):
        if shared:
            yield f"spec.template.spec.{name} would show the agent's processes to the author's: remove it"
    yield from _of_user("spec.template.spec", spec.security_context)
    for kind, containers in (("containers", spec.containers), ("initContainers", spec.init_containers)):
        for each in containers or ():
            yield from _of_container(f"spec.template.spec.{kind}[{each.name}]", each)


def _of_metadata(metadata: Object) -> Iterator[str]:
    for name, value in metadata.items():
        place = f"spec.template.metadata.{name}"
        if name in ("labels", "annotations"):
            yield from (f"{place}[{key}] is the operator's: remove it" for key in value or () if key.startswith(PREFIX))
        elif value is not None:
            yield f"{place} can't be set, as a capsule has labels and annotations of its template and no other metadata: remove it"


def _of_container(place: str, container: _Container) -> Iterator[str]:
    if any(variable.get("name") == RUN_DIR_VARIABLE for variable in container.env or ()):
        yield f"{place}.env[{RUN_DIR_VARIABLE}] is the operator's: remove it"
    if any(mount.get("name") == TOKEN_VOLUME for mount in container.volume_mounts or ()):
        yield f"{place}.volumeMounts[{TOKEN_VOLUME}] is the agent's alone: remove it"
    yield from _of_user(place, container.security_context)


def _of_user(place: str, context: Object | None) -> Iterator[str]:
    if (context or {}).get("runAsUser") == AGENT_UID:
        yield f"{place}.securityContext.runAsUser {AGENT_UID} is the agent's: choose another"
