"""The gateway on the cluster, as its tests ask it and what they look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from support.kube import SYSTEM, get, kubectl

POOL = "front"
"""Of the probe adapter: two capsules of two workers each."""

Ask = Callable[..., dict[str, Any]]
"""`ask("GET", path, body, token, **headers)`, from a pod of the tests' namespace."""

PORT = 7880
SUBJECT = f"system:serviceaccount:{SYSTEM}:snakepit-gateway"


def address() -> str:
    """That of its Service, which can be reached from here."""
    return str(get("service", "snakepit-gateway", namespace=SYSTEM)["spec"]["clusterIP"])


def decisions() -> list[dict[str, Any]]:
    """What both replicas' audit logs have."""
    replicas = ("-n", SYSTEM, "-l", "app.kubernetes.io/component=control-plane", "--tail=-1")
    lines = [json.loads(line) for line in kubectl("logs", *replicas).splitlines() if "snakepit.audit" in line]
    return [json.loads(line["message"]) for line in lines]
