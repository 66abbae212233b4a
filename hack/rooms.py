"""docs/rooms.md, for hack/docs.py: every module of the sources, by distribution and room, with the first sentence of its docstring.

Rooms and modules come in the order of import-linter's layers, where there are any: each imports what is further down, and nothing above.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "SDK": "sdk/src/snakepit",
    "Worker image": "worker-image/src/snakepit_worker",
    "Agent": "agent/src/snakepit_agent",
    "Control plane": "control-plane/src/snakepit_control_plane",
    "Operator": "operator/src/snakepit_operator",
    "Gateway": "gateway/src/snakepit_gateway",
    "Local mode": "local/src/snakepit_local",
}
GENERATED = ("v1", "externalscaler")
PAGE = """# Rooms

Generated from the sources by `make docs`; don't edit. Here is every module, with what it is for: look here for the
owner of a rule. [Architecture](architecture.md) says how they work together.

Rooms and modules stand in the order of their layers, which import-linter checks: what stands further up imports what
stands further down, and never the other way.
"""


def page() -> str:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [each["layers"] for each in contracts if each["type"] == "layers"]
    return "\n".join([PAGE, *(line for name, folder in PACKAGES.items() for line in _distribution(name, ROOT / folder, layers))])


def _distribution(name: str, package: Path, contracts: Sequence[Sequence[str]]) -> Iterator[str]:
    rank = _ranks(package.name, contracts)
    rooms = sorted({path.parent for path in package.rglob("*.py")}, key=lambda room: rank(_dotted(package, room)))
    yield f"## {name}\n\nIn `{package.relative_to(ROOT)}/`.\n\n| module | what it is for |\n|---|---|"
    for room in rooms:
        within = room.relative_to(package).as_posix()
        if within.partition("/")[0] in GENERATED:
            continue
        if room != package:
            yield f"| **`{within}/`** | {purpose(room / '__init__.py')} |"
        modules = sorted((each for each in room.glob("*.py") if each.name != "__init__.py"), key=lambda each: rank(_dotted(package, each)))
        yield from (f"| `{each.relative_to(package).as_posix()}` | {purpose(each)} |" for each in modules)
    yield ""


def _dotted(package: Path, path: Path) -> str:
    return ".".join((package.name, *(part.removesuffix(".py") for part in path.relative_to(package).parts)))


def _ranks(package: str, contracts: Sequence[Sequence[str]]) -> Callable[[str], tuple[object, ...]]:
    """Sorts a package's modules by their layers, the uppermost first; what is in none comes after those, by its name."""
    places = {
        module.strip(): place
        for layers in contracts
        for place, layer in enumerate(layers)
        for module in layer.split("|")
        if module.strip().startswith(f"{package}.")
    }

    def rank(dotted: str) -> tuple[object, ...]:
        parts = dotted.split(".")
        prefixes = [".".join(parts[: count + 1]) for count in range(1, len(parts))]
        return tuple((places.get(each, len(places)), each) for each in prefixes)

    return rank


def purpose(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text()))
    if not text:
        raise SystemExit(f"{path.relative_to(ROOT)} doesn't say what it is for: give it a docstring")
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z`)'][.!?]) (?=[A-Z`])", first)[0].replace("|", "\\|")
