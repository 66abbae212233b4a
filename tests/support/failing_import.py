"""An adapter whose import fails, at length. FAIL: the character of the message."""

import os

raise RuntimeError(os.environ.get("FAIL", "x") * 100_000)
