"""Ends the process that imports it."""

from __future__ import annotations

import os

OUTCOME = "ZygoteDied: the process that imports adversarial.leaves_at_import:Evil exited with code 5"
WORLD = "start"

os._exit(5)
