"""A module that leaves a process behind and can't be imported."""

import os
from pathlib import Path

from support.sample import orphan

Path(os.environ["ORPHAN_NOTE"]).write_text(str(orphan(600)))
raise RuntimeError("this module is broken")
