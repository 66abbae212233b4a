"""Python files that are no module of a package, imported by their path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def imported(path: Path) -> ModuleType:
    """Anew at each call."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
