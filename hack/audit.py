"""Ask a database of vulnerabilities about every Python package that an image or a wheel brings along: `make audit`.

    python hack/audit.py [--database FOLDER] [OPTION OF pip-audit]...

pip-audit asks the package index; `-s osv`, and `--osv-url` for a mirror of your own, ask OSV; with `--database` it asks a folder of OSV's
records (`advisories`), and nobody on the network. A package that no database knows is no good news: then, too, it ends with 2. With 1 it
ends where there is a vulnerability. Of Debian's packages in an image it knows nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from advisories import Advisories, served

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "hack/cluster"))
from localcluster.images import RELEASED  # noqa: E402


def asked(options: list[str], **environment: str) -> tuple[list[dict[str, object]], str]:
    """What is said of each package of all images, once of each version; and of why there is none, the last line.

    Image by image: pip-audit takes a package that two files pin at two versions for a mistake, and says nothing at all then. It has our
    environment, and what is given of it.
    """
    found: dict[tuple[object, object], dict[str, object]] = {}
    problem = ""
    for name in RELEASED:
        packages, said = _asked_of(ROOT / f"requirements/{name}.txt", options, {**os.environ, **environment})
        found |= {(each["name"], each.get("version")): each for each in packages}
        if not packages:
            problem = f"{name}.txt: {said}"
            break
    return ([] if problem else list(found.values())), problem


def _asked_of(file: Path, options: list[str], environment: dict[str, str]) -> tuple[list[dict[str, object]], str]:
    command = [sys.executable, "-m", "pip_audit", "-r", str(file), "--disable-pip", "--require-hashes", "-f", "json"]
    command += ["--progress-spinner", "off", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except ValueError:
        return [], (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def verdict(packages: list[dict[str, object]], problem: str) -> tuple[int, str]:
    """The exit status, and what is said."""
    unknown = [f"{each['name']}" for each in packages if "skip_reason" in each]
    bad = [f"{each['name']} {each['version']}: {found['id']}" for each in packages for found in each.get("vulns", ())]  # type: ignore[attr-defined]
    if bad:
        return 1, "\n".join(bad)
    if unknown or not packages:
        why = problem or f"it knows nothing of {len(unknown)} of {len(packages)} packages, {unknown[0]} among them"
        return 2, f"No database of vulnerabilities answered for all packages, so nothing is known to be good: {why}"
    return 0, f"{len(packages)} packages, no known vulnerability."


def asked_of_a_folder(folder: Path, options: list[str]) -> tuple[int, str]:
    """The verdict of what lies there, and how old that is. Raises ValueError."""
    advisories = Advisories(folder)
    with served(advisories) as url:
        code, said = verdict(*asked(["-s", "osv", "--osv-url", url, *options], no_proxy="*"))  # Loopback is asked through no proxy.
    records = f"{advisories.count} records in {folder}, the newest of {advisories.newest}"
    return code, f"{said}\nAsked: {records}; of what came later it knows nothing."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", type=Path)
    own, options = parser.parse_known_args()
    try:
        code, said = verdict(*asked(options)) if own.database is None else asked_of_a_folder(own.database, options)
    except ValueError as error:
        code, said = 2, str(error)
    print(said)
    sys.exit(code)


if __name__ == "__main__":
    main()
