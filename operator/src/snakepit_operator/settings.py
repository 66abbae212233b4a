"""What the operator is told by its environment, checked once at the start with all problems named at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from snakepit._environment import Environment, address, address_or_off, port, words
from snakepit_operator.pods import AgentImage, Object

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the operator runs, what it watches, and how it starts agents."""

    namespace: str
    """Its namespace (POD_NAMESPACE)."""
    identity: str
    """Who holds the Lease (POD_NAME, by default the host's name)."""
    agent: AgentImage
    watch_namespaces: tuple[str, ...] = ()
    """Whose pools are looked after: names with commas between (WATCH_NAMESPACES, by default all)."""
    lease_name: str = "snakepit-operator"
    """By which one of several operators leads (SNAKEPIT_LEASE_NAME)."""
    health: str = "0.0.0.0:7803"
    """gRPC's health service for the kubelet: services `""` and `ready` (SNAKEPIT_HEALTH_LISTEN)."""
    metrics: str | None = None
    """`/metrics`, of each replica, whoever leads (SNAKEPIT_METRICS_LISTEN, by default off). The chart says 7801."""
    metrics_api: str | None = None
    """Where the API server finds numbers for an HPA (SNAKEPIT_METRICS_API_LISTEN, by default off), see
    docs/autoscaling.md#an-hpa-instead. The chart says 7804 with `metricsApi.enabled`."""
    metrics_api_certificates: str = "/etc/snakepit/metrics-api"
    """The folder with `tls.crt` and `tls.key` for it (SNAKEPIT_METRICS_API_CERTIFICATES)."""
    keda: str | None = None
    """KEDA's external scaler (SNAKEPIT_KEDA_LISTEN, by default off), see docs/autoscaling.md#keda-instead. The chart says 7805 with
    `keda.enabled`."""
    caller_role: str = ""
    """The ClusterRole that the service accounts of a pool's namespace are bound to there; empty: nobody is bound
    (SNAKEPIT_CALLER_ROLE). The chart says its caller role."""
    capsule_policy: Object = field(default_factory=dict)
    """Name (`metadata.name`) and `spec` of the NetworkPolicy of capsules in each namespace with a pool, as JSON; without a spec that
    policy is taken away; empty: it is let be (SNAKEPIT_CAPSULE_POLICY). The chart says as its values `networkPolicy` do."""
    token_file: str = ""
    """The token that the control plane knows it by (SNAKEPIT_TOKEN_FILE)."""
    tls_service: str = ""
    """The control plane's Service, where TLS is on; `<it>-ca` is the Secret with authorities, and the ConfigMap with them in each
    namespace with a pool (SNAKEPIT_TLS_SERVICE)."""
    tls_secret: str = ""
    """The Secret with its certificate (SNAKEPIT_TLS_SECRET, by default `<service>-tls`)."""
    tls_names: tuple[str, ...] = ()
    """The certificate's names, which the operator makes, with commas between; empty: somebody else makes it (SNAKEPIT_TLS_NAMES)."""
    tls_gateway_secret: str = ""
    """The Secret with the gateways' certificate (SNAKEPIT_TLS_GATEWAY_SECRET, by default `<service>-gateway-tls`)."""
    tls_gateway_names: tuple[str, ...] = ()
    """That certificate's names, with commas between; empty: the operator makes none (SNAKEPIT_TLS_GATEWAY_NAMES)."""
    ca_file: str = ""
    """The authority that the control plane's certificate must be of; the operator writes it there itself (SNAKEPIT_CA_FILE)."""


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises InvalidSettings."""
    read = Environment(environ)
    namespace = read.required("POD_NAMESPACE", str)
    service = read("SNAKEPIT_TLS_SERVICE", str, "")
    agent = AgentImage(
        image=read.required("SNAKEPIT_AGENT_IMAGE", str),
        pull_policy=read("SNAKEPIT_AGENT_IMAGE_PULL_POLICY", _pull_policy, ""),
        resources=read("SNAKEPIT_AGENT_RESOURCES", _resources, {}),
        env=read("SNAKEPIT_AGENT_ENV", _env, ()),
        pull_secrets=read("SNAKEPIT_AGENT_PULL_SECRETS", words, ()),
        control_plane=read("SNAKEPIT_CONTROL_PLANE", address, f"dns:///snakepit-control-plane.{namespace}:7800"),
        audience=read("SNAKEPIT_AUTH_AUDIENCE", str, ""),
        authority=f"{service}-ca" if service else "",
        metrics_port=read("SNAKEPIT_AGENT_METRICS_PORT", port, 0),
    )
    found = Settings(
        namespace=namespace,
        identity=read("POD_NAME", str, socket.gethostname()),
        agent=agent,
        watch_namespaces=read("WATCH_NAMESPACES", words, Settings.watch_namespaces),
        lease_name=read("SNAKEPIT_LEASE_NAME", str, Settings.lease_name),
        health=read("SNAKEPIT_HEALTH_LISTEN", address, Settings.health),
        metrics=read("SNAKEPIT_METRICS_LISTEN", address_or_off, Settings.metrics),
        metrics_api=read("SNAKEPIT_METRICS_API_LISTEN", address_or_off, Settings.metrics_api),
        metrics_api_certificates=read("SNAKEPIT_METRICS_API_CERTIFICATES", str, Settings.metrics_api_certificates),
        keda=read("SNAKEPIT_KEDA_LISTEN", address_or_off, Settings.keda),
        caller_role=read("SNAKEPIT_CALLER_ROLE", str, Settings.caller_role),
        capsule_policy=read("SNAKEPIT_CAPSULE_POLICY", _policy, {}),
        token_file=read("SNAKEPIT_TOKEN_FILE", str, Settings.token_file),
        tls_service=service,
        tls_secret=read("SNAKEPIT_TLS_SECRET", str, f"{service}-tls"),
        tls_names=read("SNAKEPIT_TLS_NAMES", words, Settings.tls_names),
        tls_gateway_secret=read("SNAKEPIT_TLS_GATEWAY_SECRET", str, f"{service}-gateway-tls"),
        tls_gateway_names=read("SNAKEPIT_TLS_GATEWAY_NAMES", words, Settings.tls_gateway_names),
        ca_file=read("SNAKEPIT_CA_FILE", str, Settings.ca_file),
    )
    read.check()
    return found


def _pull_policy(text: str) -> str:
    if text not in _PULL_POLICIES:
        raise ValueError(f"{text!r} is unknown: use {', '.join(_PULL_POLICIES[:-1])} or {_PULL_POLICIES[-1]}")
    return text


def _resources(text: str) -> Object:
    return dict(_json(text, dict, "an object like a container's resources"))


def _env(text: str) -> tuple[Object, ...]:
    return tuple(_json(text, list, "a list like a container's env"))


def _policy(text: str) -> Object:
    found = dict(_json(text, dict, "an object with the metadata and spec of a NetworkPolicy"))
    if not (found.get("metadata") or {}).get("name"):
        raise ValueError("metadata.name is missing: it is what the NetworkPolicy is called in each namespace with a pool")
    return found


def _json(text: str, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(f"it must be {what}, as JSON ({error})") from None
