"""Ends the process without a word."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 3 (its own code ended the process)"


@tool
def leaves_at_once() -> None:
    os._exit(3)
