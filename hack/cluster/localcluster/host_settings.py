"""Owns what a build inside an image borrows from this machine: pip's settings, its certificates, and Debian's mirror.

They are mounted while a build runs and never become part of an image.
"""

import ast
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSED_ON = frozenset({"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries"})
CERTIFICATES = "/etc/ssl/certs"
AUTHORITY_INSIDE = f"{CERTIFICATES}/ca-certificates.crt"


def settings_of(listing: str) -> dict[str, str]:
    """The settings in the output of `pip config list`; what the environment says comes over what files say."""
    found = re.findall(r"^([\w:]+)\.([\w-]+)=(.+)$", listing, re.MULTILINE)
    ordered = sorted(found, key=lambda setting: setting[0] == ":env:")
    return {name: ast.literal_eval(value) for _, name, value in ordered}


def pip_configuration(settings: dict[str, str]) -> str:
    """A pip.conf with what a build may use of them."""
    lines = [f"{name} = {_indented(value)}" for name, value in sorted(settings.items()) if name in PASSED_ON]
    if "cert" in settings:
        lines.append(f"cert = {AUTHORITY_INSIDE}")
    return "\n".join(["[global]", *lines, ""])


def _indented(value: str) -> str:
    """A list has a line for each of its values, which an ini file wants indented."""
    return value.replace("\n", "\n    ")


@contextmanager
def for_pip() -> Iterator[list[str]]:
    """Volumes that give a build this machine's way to a package index."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    settings = settings_of(done.stdout) if done.returncode == 0 else {}
    with tempfile.TemporaryDirectory(prefix="snakepit-build-") as folder:
        configuration = Path(folder) / "pip.conf"
        configuration.write_text(pip_configuration(settings))
        yield [f"{configuration}:/etc/pip.conf:ro", *_certificates(settings.get("cert"), Path(folder))]


def _certificates(authority: str | None, folder: Path) -> list[str]:
    if authority is None or Path(authority).is_relative_to(CERTIFICATES):
        return [f"{CERTIFICATES}:{CERTIFICATES}:ro"] if Path(CERTIFICATES).is_dir() else []
    certificates = folder / "certs"
    certificates.mkdir()
    shutil.copy(authority, certificates / Path(AUTHORITY_INSIDE).name)
    return [f"{certificates}:{CERTIFICATES}:ro"]


def debian_mirror(suite: str) -> list[str]:
    """The mirror that this machine's apt uses for that suite; none means debootstrap's own default."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", f"Codename: {suite}", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    addresses = [line.split()[0] for line in done.stdout.splitlines() if line.split()[1:] == [suite]]
    return [address for address in addresses if address.startswith(("http:", "https:"))][:1]
