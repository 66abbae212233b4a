"""What the pages on installing have somebody type or apply, tried by the chart: GitOps, and without the internet."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from support.chart import CHART, Manifest, Render, containers, parse
from support.pages import blocks


def written(kind: str) -> Any:
    """That object of the page."""
    (found,) = [each for block in blocks("docs/gitops.md", "yaml") for each in yaml.safe_load_all(block.text) if each["kind"] == kind]
    return found


def rendered(helm: Path, values: Manifest, folder: Path) -> str:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [helm, "template", "snakepit", CHART, "-n", "snakepit-system", "--kube-version", "v1.35.0", "--skip-tests", "-f", file]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_with_what_the_page_says_nothing_of_it_changes_from_one_sync_to_the_next(helm: Path, tmp_path: Path) -> None:
    source = written("Application")["spec"]["source"]
    values = source["helm"]["valuesObject"]
    first = rendered(helm, values, tmp_path)
    assert rendered(helm, values, tmp_path) == first
    assert "volumeClaimTemplates" in parse(first).get("StatefulSet", "snakepit-redis")["spec"]
    assert rendered(helm, {}, tmp_path) != rendered(helm, {}, tmp_path), "then the page says too much"


def test_the_chart_of_the_page_is_a_releases_so_that_its_images_are(helm: Path, tmp_path: Path) -> None:
    source, about = written("Application")["spec"]["source"], yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (source["chart"], source["targetRevision"]) == (about["name"], about["version"])
    assert "path" not in source, "whose images would have the tag of a checkout"
    carry = blocks("docs/releasing.md", "sh", "Carry it to a registry")[0].text
    assert f"$REGISTRY/{source['repoURL'].partition('/')[2]}/{source['chart']}:$VERSION" in carry
    objects = parse(rendered(helm, source["helm"]["valuesObject"], tmp_path))
    (operator,) = containers(dict(objects.pod_specs())["snakepit-operator"])
    assert operator["image"].startswith(f"{source['repoURL'].partition('/')[0]}/snakepit/operator:")


def test_the_password_of_the_page_is_one_that_redis_and_the_control_plane_find(render: Render) -> None:
    secret = written("Secret")
    name, data = secret["metadata"]["name"], secret["stringData"]
    objects = render(f"redis.passwordSecret={name}")
    assert f"requirepass {data['password']}\nmasterauth {data['password']}\n" == data["auth.conf"]
    assert not [each for each in objects.of("Secret") if "redis" in each["metadata"]["name"]]
    pods = dict(objects.pod_specs())
    for pod in (pods["snakepit-redis"], pods["snakepit-control-plane"]):
        (password,) = [each for each in pod["containers"][0]["env"] if each["name"] == "REDIS_PASSWORD"]
        assert password["valueFrom"]["secretKeyRef"] == {"name": name, "key": "password"}
    (auth,) = [each["secret"] for each in pods["snakepit-redis"]["volumes"] if each["name"] == "auth"]
    assert auth == {"secretName": name, "items": [{"key": "auth.conf", "path": "auth.conf"}]}
    assert set(data) == {"password", "auth.conf"}


def test_without_the_internet_every_image_comes_from_the_registry_of_the_page(render: Render) -> None:
    (install,) = blocks("docs/how-to/air-gapped.md", "sh")
    objects = render(*re.findall(r"--set (\S+)", install.text), "gateway.enabled=true", "redis.replicas=3", hooks=True)
    carried = {"control-plane", "operator", "agent", "gateway", "worker", "cli"}
    ours = {f"registry.internal/platform/snakepit/{each}:0.1.0" for each in carried}
    assert objects.images() == ours | {"registry.internal/valkey:8-alpine"}
