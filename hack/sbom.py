"""Write CycloneDX SBOMs, and check them: each component has a version and a licence, and Python's licences are allowed.

    python hack/sbom.py wheels FOLDER      beside each wheel in FOLDER
    python hack/sbom.py images FOLDER      of each image of a release, as hack/cluster has built it, into FOLDER
    python hack/sbom.py images FOLDER RELEASE.json      as hack/release has built and pushed it

It runs in the environment of requirements/release.txt: `make sbom`. Of a wheel it has the packages that it needs, as requirements/dev.txt
pins them. Of an image it has what is in it: the Python packages of its environment, and Debian's. With SOURCE_DATE_EPOCH, the same things
give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import licences
from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from debian.copyright import Copyright, NotMachineReadableError
from debian.deb822 import Packages
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "hack/cluster"))
from localcluster import images  # noqa: E402

INSTALLED = "lib/python3.*/site-packages"
APACHE = "Apache-2.0"
UNTOLD = "unknown: the base image has no copyright files"
"""Of Debian's packages in the base that hack/cluster makes; the public images of Python have them."""


def python_component(metadata: Message, hashes: Iterable[str] = ()) -> Component:
    """`hashes`: of all archives that it may have come from, as requirements have them."""
    name, version = canonicalize_name(metadata["Name"]), metadata["Version"]
    found = licences.licence(metadata)
    url = XsUri("pkg:pypi/" + name)
    made = [HashTypeFactory().from_composite_str(each) for each in sorted(hashes)]
    purl = PackageURL("pypi", None, name, version)
    return Component(
        name=name,
        version=version,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(found)] if found else [],
        external_references=[ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=url, hashes=made)] if made else [],
    )


def installed(prefix: Path) -> dict[str, Message]:
    """The metadata of what a virtual environment has."""
    places = [str(each) for each in prefix.glob(INSTALLED)]
    return {canonicalize_name(each.metadata["Name"]): each.metadata for each in distributions(path=places)}  # type: ignore[misc]


def debian_components(root: Path) -> Iterator[Component]:
    """The packages of a file system, which may have none."""
    status = root / "var/lib/dpkg/status"
    if not status.exists():
        return
    told = any(root.glob("usr/share/doc/*/copyright"))
    with status.open() as lines:
        for each in Packages.iter_paragraphs(lines, use_apt_pkg=False):
            name, version = each["Package"], each["Version"]
            purl = PackageURL("deb", "debian", name, version, {"arch": each["Architecture"]})
            yield Component(
                name=name,
                version=version,
                type=ComponentType.LIBRARY,
                purl=purl,
                bom_ref=str(purl),
                licenses=map(LicenseFactory().make_with_name, debian_licences(root, name) if told else [UNTOLD]),
            )


def debian_licences(root: Path, package: str) -> list[str]:
    """As Debian calls them; of a file that only people can read, where it is."""
    file = root / f"usr/share/doc/{package}/copyright"
    if not file.exists():
        return []
    try:
        with contextlib.redirect_stderr(None), file.open(errors="replace") as lines:
            read = Copyright(lines, strict=False)
            names = {each.license.synopsis for each in read.all_files_paragraphs() if each.license}
    except (NotMachineReadableError, ValueError, KeyError):
        names = set()
    return sorted(filter(None, names)) or [f"as in /usr/share/doc/{package}/copyright"]


def needed(wheel: Message, there: dict[str, Message]) -> dict[str, Message]:
    """What it needs with all of its extras, out of what is there."""
    found: dict[str, Message] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(wheel, extra) for extra in ["", *(wheel.get_all("Provides-Extra") or [])]]
    while todo:
        metadata, extra = todo.pop()
        for text in metadata.get_all("Requires-Dist") or []:
            read = Requirement(text)
            name = canonicalize_name(read.name)
            if (read.marker and not read.marker.evaluate({"extra": extra})) or name not in there:
                continue
            found[name] = there[name]
            new = {(name, each) for each in ("", *read.extras)} - seen
            seen |= new
            todo += [(there[name], each) for _, each in new]
    return found


def vendored(packages: Iterable[str]) -> Iterator[Component]:
    """What the gateway, if it is one of the packages, has for browsers."""
    for each in sorted(licences.STATIC.glob("*.min.js")) if "snakepit-gateway" in packages else ():
        name, version, *part = each.name.removesuffix(".min.js").split("-")
        licence = LicenseFactory().make_from_string(licences.VENDORED[name])
        whole = "-".join((name, *part))
        yield Component(name=whole, version=version, licenses=[licence], bom_ref=f"{whole}@{version}")


def bom(subject: Component, components: Iterable[Component]) -> Bom:
    made = Bom(components=components)
    made.metadata.component = subject
    if seconds := os.environ.get("SOURCE_DATE_EPOCH"):
        made.metadata.timestamp = datetime.fromtimestamp(int(seconds), UTC)
        made.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{subject.purl} {subject.version} {seconds}")
    made.register_dependency(subject, made.components)
    return made


def of_wheel(wheel: Path) -> Bom:
    with ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
    hashes = {each.name: each.hashes for each in licences.pinned("dev")}
    subject = python_component(metadata, [f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"])
    packages = needed(metadata, installed(ROOT / ".venv"))
    python = [python_component(each, hashes.get(name, ())) for name, each in packages.items()]
    return bom(subject, [*python, *vendored([subject.name])])


class Built(NamedTuple):
    """An image in buildah's storage, what others call it, and the digest of its manifest."""

    stored: str
    known: str
    digest: str


def built(name: str) -> Built:
    """As hack/cluster has built it."""
    usual = images.Naming()
    image = images.Naming(os.environ.get("IMAGE_REPOSITORY", usual.repository), os.environ.get("IMAGE_TAG", usual.tag)).of(name)
    return Built(image, image, str(images.inspect(image)["FromImageDigest"]))


def released(name: str, release: Path) -> Built:
    """As release.json has it."""
    said = json.loads(release.read_text())
    known = f"snakepit/{name}:{said['version']}"
    return Built(f"localhost/{known}", known, said["images"][name])


def of_image(name: str, image: Built) -> Bom:
    requirements = {each.name: each for each in licences.pinned(name)}
    with mounted(image.stored) as root:
        prefix = next(each for each in (root / "opt/snakepit", root / "usr/local") if any(each.glob(INSTALLED)))
        packages = installed(prefix)
        python = [python_component(each, requirements[at].hashes if at in requirements else ()) for at, each in packages.items()]
        purl = PackageURL("oci", None, image.known.rpartition("/")[2].partition(":")[0], image.digest)
        subject = Component(name=image.known, version=image.digest, type=ComponentType.CONTAINER, purl=purl, bom_ref=str(purl))
        subject.licenses.add(LicenseFactory().make_from_string(APACHE))
        return bom(subject, [*python, *vendored(packages), *debian_components(root)])


@contextlib.contextmanager
def mounted(image: str) -> Iterator[Path]:
    def buildah(*words: str) -> str:
        done = subprocess.run(["buildah", *words], capture_output=True, text=True, check=True, env=images.environment())
        return done.stdout.strip()

    container = buildah("from", "--pull-never", image)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)


def problems(made: Bom) -> Iterator[str]:
    """What of it can't be released, in a sentence each. Debian's packages may be copied, under whatever licences they have."""
    for each in [made.metadata.component, *made.components]:
        assert each is not None
        texts = [getattr(licence, "value", None) or getattr(licence, "id", None) or licence.name for licence in each.licenses]
        if not each.version:
            yield f"{each.name} has no version"
        if not texts:
            yield f"{each.name} {each.version} has no licence that is known"
        if each.purl is not None and each.purl.type == "pypi":
            yield from (f"{each.name} has the licence {bad}, which is not allowed" for text in texts for bad in licences.unwanted(text))


def write(made: Bom, path: Path) -> list[str]:
    """Its problems."""
    text = JsonV1Dot6(made).output_as_string(indent=2)
    invalid = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = [f"{path.name}: {each}" for each in ([f"is no CycloneDX: {invalid}"] if invalid else []) + list(problems(made))]
    untold = sum(UNTOLD in map(str, (licence.name for licence in each.licenses if hasattr(licence, "name"))) for each in made.components)
    said = f", {untold} of Debian's with a licence that is {UNTOLD}" if untold else ""
    print(f"{path}: {len(made.components)} components, {len(found)} problems{said}")
    return found


def main() -> None:
    what, folder, *release = sys.argv[1], *map(Path, sys.argv[2:])
    if what == "wheels":
        found = [each for wheel in sorted(folder.glob("*.whl")) for each in write(of_wheel(wheel), wheel.with_suffix(".cdx.json"))]
    else:
        found = []
        for name in images.RELEASED:
            image = released(name, release[0]) if release else built(name)
            found += write(of_image(name, image), folder / f"{name}.cdx.json")
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
