"""Log lines of keeper, zygote and worker on stderr: JSON in containers, text where SNAKEPIT_LOG_FORMAT=text says so."""

from __future__ import annotations

import logging
import os
import sys
import time

import msgspec

_FIELDS = ("worker", "pid", "call_id")


class _Json(logging.Formatter):
    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {
            "time": when,
            "level": record.levelname,
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure(component: str) -> None:
    """Send the root logger to stderr; what the author configures later replaces it."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("SNAKEPIT_LOG_FORMAT", "json") == "text":
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {component} %(message)s"))
    else:
        handler.setFormatter(_Json(component))
    level = os.environ.get("SNAKEPIT_LOG_LEVEL", "info").upper()
    logging.basicConfig(level=level if level in ("DEBUG", "INFO", "WARNING", "ERROR") else logging.INFO, handlers=[handler], force=True)
