"""Fetch the Mermaid that draws the pictures of the site, checked by its hash (`mermaid.py TARGET`). Without npm their text is shown."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "11.12.2"
SHA512 = "n34QPDPEKmaeCG4WDMGy0OT6PSyxKCfy2pJgShP+Qow2KLrvWjclwbc3yXfSIf4BanqWEhQEpngWwNp/XhZt6w=="
MEMBER = "package/dist/mermaid.min.js"
SECONDS = 120
TEXT = "the site shows the text of pictures instead of drawing them"


def fetched(folder: Path) -> Path:
    """npm's archive of it, in that folder."""
    words = ["npm", "pack", f"mermaid@{VERSION}", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    subprocess.run(words, cwd=folder, check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
        sys.exit(f"mermaid {VERSION} of the registry is not the one that {Path(__file__).name} has the hash of: don't use it")
    return archive


def main(target: Path) -> None:
    if shutil.which("npm") is None:
        print(f"there is no npm here: {TEXT}")
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            archive = fetched(Path(folder))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"npm couldn't fetch mermaid ({error}): {TEXT}")
            return
        with tarfile.open(archive) as opened:
            member = opened.extractfile(MEMBER)
            target.write_bytes(member.read() if member else b"")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
