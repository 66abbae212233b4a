"""The API server and local validation refuse the same pool files in the same sentences, and accept the same ones."""

from __future__ import annotations

import json
import re
from typing import Any

import cel
import pytest

from snakepit.spec import validate
from support.kube import ROOT, kubectl, run
from support.pool_files import BAD, GOOD, Case

NAMESPACE = "default"


@pytest.fixture(scope="module", autouse=True)
def installed_crd() -> None:
    """The CRD of the checkout, whether or not the chart is installed."""
    crd = str(ROOT / "crds/snakepit.dev_snakepools.yaml")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", crd)
    kubectl("wait", "--for=condition=Established", "crd/snakepools.snakepit.dev", "--timeout=60s")


def refusal(document: dict[str, Any]) -> str:
    """What kubectl prints when the API server refuses; empty when it accepts. Nothing is stored."""
    done = run("kubectl", "create", "-n", NAMESPACE, "--dry-run=server", "-f", "-", stdin=json.dumps(document), check=False)
    return done.stderr if done.returncode else ""


def fields(said: str) -> set[str]:
    """What the API server objects to. It names spec.replicas twice, and says under no name that it has not looked at the rules."""
    return {name.lstrip(".") for name in re.findall(r"(?:is invalid: |^\* )(\S+?): ", said, re.MULTILINE)} - {"<nil>"}


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.id)
def test_both_accept(case: Case) -> None:
    assert refusal(case.document) == ""
    assert validate(case.document, cel.evaluate) == []


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_both_refuse_in_the_same_words(case: Case) -> None:
    said = refusal(case.document)
    found = validate(case.document, cel.evaluate)
    assert said
    assert found
    for problem in found:
        # API servers before 1.35 write the type where the newer ones write the value, or nothing.
        older = said.replace('Invalid value: "object": ', "Invalid value: ")
        assert str(problem) in said or str(problem) in older, f"not said by the API server:\n{said}"
    assert fields(said) <= {str(problem).partition(":")[0] for problem in found}, f"not said here:\n{said}"
