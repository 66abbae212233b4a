"""One release and one namespace for all cluster tests; what they need of the machine is said in one sentence when it is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from support.beside import Ends, is_played, played
from support.incluster import ACCOUNTS, E2E, config_map, probe_pool, standing_caller
from support.kube import SYSTEM, apply, install, kubectl, make_namespace

NAMESPACE = "snakepit-e2e"
collect_ignore = [] if os.environ.get("METRICS_SERVER") else ["test_gateway_hpa.py"]
"""That is for `make test-hpa`."""

IN_THE_PODS = (
    "probe.py",
    "load.py",
    "roll.py",
    "web.py",
    "actor.py",
    "hazard.py",
    "intruder.py",
    "stage.py",
    "session_scenes.py",
    "request_scenes.py",
)
"""What runs in the cluster; it gets there by a ConfigMap."""


POOL_OF = {"key": "snakepit.dev/pool", "operator": "Exists"}
DESKS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "desks"},
    "spec": {
        "podSelector": {"matchExpressions": [POOL_OF, {**POOL_OF, "operator": "NotIn", "values": ["intruder", "dialler"]}]},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchExpressions": [{**POOL_OF, "operator": "DoesNotExist"}]}}]}],
    },
}
"""Tools of the tests may dial the desk in the pod `caller`, which nobody's tools may else. Intruder and dialler have what everybody has."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever the files are called: who installs a release of its own comes first, who needs more of it than others next, and
    uninstalling last."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if is_played(item):
        return 2
    if not BY_FIXTURE.keys().isdisjoint(getattr(item, "fixturenames", ())):
        return 3
    return {"test_readme.py": 0, "test_operations.py": 1, "test_uninstall.py": 5}.get(item.path.name, 4)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Who is played beside others has begun before."""
    if not is_played(pyfuncitem):
        return None
    ends: Ends = pyfuncitem.funcargs["beside"]
    ends[pyfuncitem.nodeid].result()
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every call of every load, and what became of it."""
    if ACCOUNTS:
        terminalreporter.section("calls under load")
        terminalreporter.write_line(f"{'sent':>8}{'answered':>10}{'failed':>8}  while")
        for row in ACCOUNTS:
            terminalreporter.write_line(str(row))


@pytest.fixture(scope="session")
def cluster() -> None:
    for program in ("kubectl", "helm"):
        if not shutil.which(program):
            pytest.exit(f"{program} is not on the PATH: run these tests with `make test-cluster`", returncode=2)


BY_FIXTURE = {"gateway": "gateway.enabled", "metrics_api": "metricsApi.enabled"}
"""What is on only while there are tests of it: until the first other upgrade, which is in test_adversity.py."""


@pytest.fixture(scope="session")
def release(cluster: None, request: pytest.FixtureRequest) -> None:
    make_namespace(SYSTEM)
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    install(SYSTEM, *(f"--set={value}=true" for fixture, value in BY_FIXTURE.items() if fixture in wanted))


@pytest.fixture(scope="session")
def namespace(release: None) -> Iterator[str]:
    make_namespace(NAMESPACE)
    apply(config_map("probe", *(E2E / name for name in IN_THE_PODS)), namespace=NAMESPACE)
    # The operator lets the namespace's own accounts call; some scenes recycle workers, too.
    kubectl(
        "create", "rolebinding", "maintains", "-n", NAMESPACE, "--clusterrole=snakepit-maintainer", f"--serviceaccount={NAMESPACE}:default"
    )
    apply(DESKS, namespace=NAMESPACE)
    # As long as a namespace has a pool, callers in it are told whom to trust.
    apply(probe_pool("anchor", suspended=True), namespace=NAMESPACE)
    standing_caller(namespace=NAMESPACE)
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def beside(namespace: str, request: pytest.FixtureRequest) -> Iterator[Ends]:
    """For tests that are played at once: `support.beside`."""
    with played(request.session.items, namespace) as ends:
        yield ends
