"""What the operator is told by its environment, checked once at the start with all problems named at once."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from snakepit._wire.dial import parse_target
from snakepit_operator.pods import AgentImage

_PULL_POLICIES = ("", "Always", "IfNotPresent", "Never")


class Settings(Struct, frozen=True, kw_only=True):
    """Where the operator runs, what it watches, and how it starts agents. `watch_namespaces` empty: all of them."""

    namespace: str
    identity: str
    agent: AgentImage
    watch_namespaces: tuple[str, ...] = ()
    lease_name: str = "snakepit-operator"
    health: str = "0.0.0.0:7803"
    """Where the kubelet's probes are answered (SNAKEPIT_HEALTH_LISTEN)."""
    token_file: str = ""
    """The token that the control plane knows the operator by (SNAKEPIT_TOKEN_FILE); empty: it asks for none."""


class InvalidSettings(ValueError):
    """One or more variables are wrong; the message has a line for each."""


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises InvalidSettings."""
    return _Reader(environ).settings()


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def settings(self) -> Settings:
        namespace = self.required("POD_NAMESPACE", "the operator's own namespace")
        control_plane = self.address("SNAKEPIT_CONTROL_PLANE", f"dns:///snakepit-control-plane.{namespace}:7800")
        found = Settings(
            namespace=namespace,
            identity=self.environ.get("POD_NAME") or socket.gethostname(),
            agent=self.agent(control_plane),
            watch_namespaces=self.words("WATCH_NAMESPACES"),
            lease_name=self.environ.get("SNAKEPIT_LEASE_NAME") or "snakepit-operator",
            health=self.address("SNAKEPIT_HEALTH_LISTEN", "0.0.0.0:7803"),
            token_file=self.environ.get("SNAKEPIT_TOKEN_FILE", ""),
        )
        if self.problems:
            raise InvalidSettings("\n".join(self.problems))
        return found

    def agent(self, control_plane: str) -> AgentImage:
        policy = self.environ.get("SNAKEPIT_AGENT_IMAGE_PULL_POLICY", "")
        if policy not in _PULL_POLICIES:
            self.problems.append(f"SNAKEPIT_AGENT_IMAGE_PULL_POLICY={policy!r} is unknown: use Always, IfNotPresent or Never")
        return AgentImage(
            image=self.required("SNAKEPIT_AGENT_IMAGE", "the image of the capsules' agent"),
            pull_policy=policy,
            resources=self.json("SNAKEPIT_AGENT_RESOURCES", dict, "an object like a container's resources") or {},
            env=tuple(self.json("SNAKEPIT_AGENT_ENV", list, "a list like a container's env") or ()),
            pull_secrets=self.words("SNAKEPIT_AGENT_PULL_SECRETS"),
            control_plane=control_plane,
            audience=self.environ.get("SNAKEPIT_AUTH_AUDIENCE", ""),
        )

    def required(self, name: str, what: str) -> str:
        value = self.environ.get(name, "")
        if not value:
            self.problems.append(f"{name} is not set: it must be {what}")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in self.environ.get(name, "").split(",") if word.strip())

    def address(self, name: str, default: str) -> str:
        address = self.environ.get(name) or default
        try:
            parse_target(address)
        except ValueError as error:
            self.problems.append(f"{name}: {error}")
        return address

    def json(self, name: str, kind: type, what: str) -> Any:
        text = self.environ.get(name)
        if not text:
            return None
        try:
            value = json.loads(text)
        except ValueError as error:
            self.problems.append(f"{name} is not JSON ({error}): it must be {what}")
            return None
        if not isinstance(value, kind):
            self.problems.append(f"{name} must be {what}, as JSON")
            return None
        return value
