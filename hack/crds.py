"""Writes the CustomResourceDefinition from snakepit.spec to crds/ and into the chart; `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from snakepit.spec.fields import GROUP, KIND, PLURAL, VERSION
from snakepit.spec.schema import pool_schema

ROOT = Path(__file__).resolve().parent.parent
TARGETS = (ROOT / "crds/snakepit.dev_snakepools.yaml", ROOT / "charts/snakepit/files/crds/snakepools.yaml")
HEADER = "# Generated from sdk/src/snakepit/spec by `make crds`: change it there.\n"


_READY_MESSAGE = '.status.conditions[?(@.type=="Ready")].message'
_COLUMNS = (
    ("Ready", "integer", ".status.readyReplicas", "Capsules with a warm worker."),
    ("Desired", "integer", ".status.desiredReplicas", "Capsules that there should be."),
    ("Busy", "integer", ".status.busySlots", "Slots that run a call."),
    ("Queue", "integer", ".status.queueDepth", "Calls that wait."),
    ("Sessions", "integer", ".status.sessions", "Sessions of the pool."),
    ("Reason", "string", ".status.reason", "The one word that says most."),
    ("Age", "date", ".metadata.creationTimestamp", ""),
)
_WIDE_COLUMNS = (
    ("Updated", "integer", ".status.updatedReplicas", "Capsules of the newest template."),
    ("Available", "integer", ".status.availableReplicas", "Capsules that the control plane sends calls to."),
    ("Workers", "integer", ".status.workers", "Ready worker processes."),
    ("Slots", "integer", ".status.totalSlots", "Slots of all ready workers."),
    ("Budget", "integer", ".status.slo.budgetLeftPercent", "Percent of the error budget that is left."),
    ("Message", "string", _READY_MESSAGE, "The reason, in a sentence."),
)
"""With `-o wide`."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def crd() -> dict[str, Any]:
    """The whole CustomResourceDefinition, ready to be written as YAML."""
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": "snakepool",
        "shortNames": ["sp"],
        "categories": ["snakepit"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [_version()]},
    }


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": pool_schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            *(_column(*column) for column in _COLUMNS),
            *({**_column(*column), "priority": 1} for column in _WIDE_COLUMNS),
        ],
    }


def _column(name: str, type_: str, path: str, description: str) -> dict[str, Any]:
    column = {"name": name, "type": type_, "jsonPath": path}
    return {**column, "description": description} if description else column


def rendered() -> str:
    """The file's whole text."""
    return HEADER + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=140)


def main() -> int:
    """Write, or with --check compare; 1 if a file is stale."""
    text = rendered()
    stale = [path for path in TARGETS if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run `make crds`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
