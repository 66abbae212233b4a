"""Manifests that the documents show, for tests that apply them."""

from __future__ import annotations

import re
from typing import Any

import yaml

from .go_tools import ROOT


def hpa(name: str) -> dict[str, Any]:
    """The HorizontalPodAutoscaler of docs/autoscaling.md, for the pool of that name."""
    text = (ROOT / "docs/autoscaling.md").read_text()
    (found,) = [each for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "HorizontalPodAutoscaler" in each]
    return dict(yaml.safe_load(found.replace("name: digits", f"name: {name}")))
