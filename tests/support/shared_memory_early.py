"""The adapter of `shared_memory`, whose import has loaded what makes shared memory."""

from __future__ import annotations

import multiprocessing.shared_memory  # noqa: F401  # That is the point.

from .shared_memory import Sharing  # noqa: F401
