"""Which packages the images and wheels bring along, pinned, and under which licences: for hack/sbom.py and its tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"

ALLOWED = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Zlib"}
"""SPDX's names. None of them asks anything of a program that is used beside it; another one is for somebody to decide about."""

_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages without an SPDX expression say. Classifiers tell the BSD licences not apart: their packages were looked at."""


STATIC = REQUIREMENTS.parent / "gateway/src/snakepit_gateway/console/static"
VENDORED = {
    "htmx": "0BSD",
    "uplot": "MIT",
}
"""What the gateway brings along for browsers, in STATIC, each with its licence beside it: NAME-VERSION….min.js, NAME.LICENSE."""


class Pinned(NamedTuple):
    """`hashes` are of all archives that the index has of that version."""

    name: str
    version: str
    hashes: frozenset[str]


def pinned(name: str) -> Iterator[Pinned]:
    """What requirements/NAME.txt pins."""
    text = (REQUIREMENTS / f"{name}.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            read = Requirement(requirement.strip())
            (version,) = read.specifier
            yield Pinned(canonicalize_name(read.name), version.version, frozenset(each.strip() for each in hashes))


def licence(metadata: Message) -> str:
    """A package's, as an SPDX expression; empty: it says none that is known here."""
    said = [metadata["License-Expression"] or metadata["License"] or ""]
    said += [" OR ".join(sorted({_NAMES.get(each, "") for each in _classified(metadata)}))]
    return next(filter(None, map(_expression, said)), "")


def _classified(metadata: Message) -> list[str]:
    found = metadata.get_all("Classifier") or []
    return [each.rpartition(" :: ")[2] for each in found if each.startswith("License :: OSI Approved :: ")]


def _expression(text: str) -> str:
    try:
        return str(canonicalize_license_expression(_NAMES.get(text, text)))
    except InvalidLicenseExpression:
        return ""


def unwanted(expression: str) -> set[str]:
    """Licences of an SPDX expression that aren't allowed. A choice is taken for all of its parts."""
    return {each for each in re.split(r"[\s()]+", expression) if each and each not in ("AND", "OR", "WITH")} - ALLOWED
