"""`make release`: what is committed, as wheels, images, a chart, SBOMs and signatures in one folder.

    python hack/release FOLDER

It runs in the environment of requirements/release.txt. COSIGN_KEY (and COSIGN_PASSWORD) name the key that signs, else one is made for
this run. PYTHON_IMAGE names the image that ours are built on, by its digest at best, else hack/cluster makes a Debian for it.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cluster"))
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

from localcluster.shell import Failure  # noqa: E402
from making import release  # noqa: E402


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    wishes = release.Wishes(Path(sys.argv[1]), os.environ.get("COSIGN_KEY", ""), os.environ.get("PYTHON_IMAGE", ""))
    try:
        release.make(HERE.parents[1], wishes)
    except Failure as failure:
        print(f"hack/release: {failure}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
