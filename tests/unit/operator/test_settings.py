"""The operator's environment: right, or refused with every fault named."""

from __future__ import annotations

import pytest

from snakepit._environment import InvalidSettings
from snakepit_operator.settings import load

NEEDED = {"POD_NAMESPACE": "system", "SNAKEPIT_AGENT_IMAGE": "example/agent:1"}


def test_the_defaults() -> None:
    found = load({**NEEDED, "POD_NAME": "operator-0"})
    assert found.identity == "operator-0"
    assert found.agent.control_plane == "dns:///snakepit-control-plane.system:7800"
    assert found.watch_namespaces == ()
    assert found.keda is None


def test_everything_said() -> None:
    found = load(
        NEEDED
        | {
            "WATCH_NAMESPACES": "a, b,",
            "SNAKEPIT_AGENT_RESOURCES": '{"limits": {"memory": "128Mi"}}',
            "SNAKEPIT_AGENT_ENV": '[{"name": "A", "value": "b"}]',
            "SNAKEPIT_AGENT_PULL_SECRETS": "one,two",
            "SNAKEPIT_AGENT_IMAGE_PULL_POLICY": "Always",
            "SNAKEPIT_HEALTH_LISTEN": "0.0.0.0:8080",
        }
    )
    assert found.watch_namespaces == ("a", "b")
    assert found.agent.resources == {"limits": {"memory": "128Mi"}}
    assert found.agent.pull_secrets == ("one", "two")
    assert found.health == "0.0.0.0:8080"


def test_all_faults_are_named_at_once() -> None:
    wrong = {
        "SNAKEPIT_AGENT_IMAGE_PULL_POLICY": "Sometimes",
        "SNAKEPIT_AGENT_RESOURCES": "[]",
        "SNAKEPIT_AGENT_ENV": "{",
        "SNAKEPIT_HEALTH_LISTEN": "http",
        "SNAKEPIT_METRICS_API_LISTEN": "https",
        "SNAKEPIT_KEDA_LISTEN": "keda",
        "SNAKEPIT_CAPSULE_POLICY": '{"spec": {}}',
        "SNAKEPIT_CONTROL_PLANE": "nowhere",
    }
    with pytest.raises(InvalidSettings) as raised:
        load(wrong)
    lines = str(raised.value).splitlines()
    assert len(lines) == len(wrong) + len(NEEDED)
    for name in (*wrong, *NEEDED):
        assert any(line.startswith(name) for line in lines), name
