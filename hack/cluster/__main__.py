"""Entry point: `python3 hack/cluster COMMAND`. It only finds the package next to it and hands over."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from localcluster.cli import main

sys.exit(main(sys.argv[1:]))
