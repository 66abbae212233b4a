"""Manifests that the documents show, for tests that apply them."""

from __future__ import annotations

import re
from typing import Any

import yaml

from .go_tools import ROOT


def hpa(name: str) -> dict[str, Any]:
    """The HorizontalPodAutoscaler of docs/autoscaling.md, for the pool of that name."""
    return _shown("HorizontalPodAutoscaler", name)


def scaled_object(name: str) -> dict[str, Any]:
    """KEDA's ScaledObject there."""
    return _shown("ScaledObject", name)


def section(page: str, heading: str) -> str:
    """What a page of docs/ has under that heading."""
    text = (ROOT / "docs" / page).read_text()
    (found,) = re.findall(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    return str(found)


def _shown(kind: str, name: str) -> dict[str, Any]:
    text = (ROOT / "docs/autoscaling.md").read_text()
    (found,) = [each for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if f"kind: {kind}\n" in each]
    return dict(yaml.safe_load(re.sub(r"(name|pool): digits\b", rf"\1: {name}", found)))
