"""Logging of our programs: JSON lines on stderr, or plain text for people. It sets up the root logger and nothing else.

SNAKEPIT_LOG_FORMAT (json, text) and SNAKEPIT_LOG_LEVEL (debug, info, warning, error) choose; text is the default on a terminal.
A record logged with `extra={"traceparent": ...}` carries its trace and span ids; other extras become fields.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line.update(_trace_ids(extra.pop("traceparent", "")))
        line.update(extra)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(component: str) -> None:
    """Send the root logger's records to stderr, once. Raises ValueError naming the variable that is wrong."""
    form = os.environ.get("SNAKEPIT_LOG_FORMAT") or ("text" if sys.stderr.isatty() else "json")
    level = os.environ.get("SNAKEPIT_LOG_LEVEL") or "info"
    if form not in ("json", "text"):
        raise ValueError(f"SNAKEPIT_LOG_FORMAT={form!r} is unknown: use json or text")
    if level.lower() not in _LEVELS:
        raise ValueError(f"SNAKEPIT_LOG_LEVEL={level!r} is unknown: use {', '.join(_LEVELS)}")
    handler = logging.StreamHandler()
    text = logging.Formatter(f"%(asctime)s {component} %(levelname)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter(component) if form == "json" else text)
    logging.basicConfig(level=_LEVELS[level.lower()], handlers=[handler], force=True)


def _trace_ids(traceparent: str) -> dict[str, str]:
    parts = traceparent.split("-")
    return {"trace_id": parts[1], "span_id": parts[2]} if len(parts) >= 4 else {}
