"""Kubernetes' own types that the chart's values have, as JSON schemas that refuse a field which the type doesn't have.

    python hack/kubernetes_types.py

writes them anew into kubernetes_types.json, out of the Go module of the Kubernetes that hack/cluster builds. A test holds that file
against what that API server serves. Of each description there is the first sentence.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOWNLOAD_SECONDS = 600
FILE = HERE / "kubernetes_types.json"
TYPES = {
    "api/v1": (
        "Affinity",
        "EnvVar",
        "HostAlias",
        "PodDNSConfig",
        "PodSecurityContext",
        "ResourceRequirements",
        "SecurityContext",
        "Toleration",
        "TopologySpreadConstraint",
        "Volume",
        "VolumeMount",
    ),
    "apis/autoscaling/v2": ("HorizontalPodAutoscalerBehavior",),
    "apis/networking.k8s.io/v1": ("NetworkPolicyEgressRule", "NetworkPolicyPeer"),
}
"""By group and version, as an API server names them."""
UNKNOWN = "managedFields"
"""A field of metadata that is made by the API server alone, and whose type says nothing of itself."""
QUANTITY = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""OpenAPI leaves a Quantity's form to whoever parses it: for an agent's resources that is nobody before its pods are made."""
SENTENCE = re.compile(r".+?[.](?= +[^a-z]| *$)")

Rules = dict[str, Any]


def definitions(documents: Mapping[str, Any]) -> dict[str, Rules]:
    """All of TYPES, and what they are made of, by their short names. `documents`: the OpenAPI v3 of each group and version."""
    found: dict[str, Rules] = {}
    for group, names in TYPES.items():
        every = {name.rpartition(".")[2]: each for name, each in documents[group]["components"]["schemas"].items()}
        wanted = list(names)
        while wanted:
            if (name := wanted.pop()) not in found:
                found[name] = rules(every[name]) | ({"pattern": QUANTITY} if name == "Quantity" else {})
                wanted += referred(found[name])
    return dict(sorted(found.items()))


def rules(schema: Mapping[str, Any]) -> Rules:
    """What OpenAPI says there, in the words of JSON schema's draft 7, and nothing else allowed."""
    told = " ".join(str(schema.get("description", "")).partition("\n")[0].split())
    first = SENTENCE.match(told)
    found: Rules = {"description": first[0] if first else told} if told else {}
    if target := schema.get("$ref") or next((each["$ref"] for each in schema.get("allOf", ())), None):
        return found | {"$ref": f"#/definitions/{target.rpartition('.')[2]}"}
    if choices := schema.get("oneOf"):
        return found | {"type": [each["type"] for each in choices]}
    found["type"] = schema["type"]
    if "properties" in schema:
        found["additionalProperties"] = False
        found["properties"] = {name: rules(each) for name, each in schema["properties"].items() if name != UNKNOWN}
    elif found["type"] == "object":
        found["additionalProperties"] = rules(schema["additionalProperties"])
    if found["type"] == "array":
        found["items"] = rules(schema["items"])
    return found | ({"required": schema["required"]} if "required" in schema else {})


def referred(schema: Any) -> Iterator[str]:
    """The names of the types that it is made of."""
    if isinstance(schema, dict):
        if isinstance(target := schema.get("$ref"), str) and target.startswith("#/definitions/"):
            yield target.rpartition("/")[2]
        schema = list(schema.values())
    for each in schema if isinstance(schema, list) else ():
        yield from referred(each)


def text(documents: Mapping[str, Any]) -> str:
    """The whole file."""
    return json.dumps(definitions(documents), indent=1, ensure_ascii=False) + "\n"


def _module() -> Path:
    """Where Go has the sources of Kubernetes."""
    sys.path.insert(0, str(HERE / "cluster"))
    from go_tools import go
    from localcluster.binaries import KUBERNETES

    command = [go() or "go", "mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=True)
    return Path(json.loads(done.stdout)["Dir"])


def main() -> None:
    specs = _module() / "api/openapi-spec/v3"
    files = {group: specs / f"{group.replace('/', '__')}_openapi.json" for group in TYPES}
    FILE.write_text(text({group: json.loads(file.read_text()) for group, file in files.items()}))


if __name__ == "__main__":
    main()
