"""The keeper in a cgroup whose counter a test writes: `python -m support.counted_keeper`, with the file's path in MEMORY_EVENTS."""

import os
import sys
from pathlib import Path

from snakepit_worker import container, keeper

if __name__ == "__main__":
    container.out_of_memory_file = lambda: Path(os.environ["MEMORY_EVENTS"])
    sys.exit(keeper.main())
