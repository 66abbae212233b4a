"""Logging of our programs: JSON lines on stderr (docs/logs.md), or plain text for people. It sets up the root logger, and Python's hooks
for what nobody has caught, and nothing else.

SNAKEPIT_LOG_FORMAT (json, text) and SNAKEPIT_LOG_LEVEL (debug, info, warning, error) choose; text is the default on a terminal. Extras of a
record that are fields of a line are those fields, `traceparent` is its trace and span ids, and others are its details.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any, NoReturn

from snakepit._telemetry.log_lines import FIELDS, MOST, THRESHOLDS, LogLine, bounded, details, encode, extra_of, level_of, moment, trace_ids

_OWN = {"time", "level", "component", "message", "logger", "exception", "details"}
"""What a record says in another way."""

log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """One JSON object a record. `always`: what each line of this program has, such as its pool."""

    def __init__(self, component: str, **always: str) -> None:
        super().__init__()
        self._component: Any = component
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        extra = extra_of(record)
        known: dict[str, Any] = self._always | trace_ids(str(extra.pop("traceparent", "")))
        known |= {name: str(extra.pop(name)) for name in FIELDS - _OWN if name in extra}
        exception = self.formatException(record.exc_info) if record.exc_info else ""
        line = LogLine(
            time=moment(record.created),
            level=level_of(record.levelno),
            component=self._component,
            logger=record.name,
            message=bounded(record.getMessage()),
            exception=exception[-MOST:],
            details=details(extra),
            **known,
        )
        return encode(line).decode().removesuffix("\n")


def configure_logging(component: str, **always: str) -> None:
    """Send the root logger's records to stderr, once, and what nobody has caught with them. `always`: fields of each line.

    Raises ValueError naming the variable that is wrong.
    """
    form = os.environ.get("SNAKEPIT_LOG_FORMAT") or ("text" if sys.stderr.isatty() else "json")
    level = os.environ.get("SNAKEPIT_LOG_LEVEL") or "info"
    if form not in ("json", "text"):
        raise ValueError(f"SNAKEPIT_LOG_FORMAT={form!r} is unknown: use json or text")
    if level.lower() not in THRESHOLDS:
        raise ValueError(f"SNAKEPIT_LOG_LEVEL={level!r} is unknown: use {', '.join(THRESHOLDS)}")
    handler = logging.StreamHandler()
    text = logging.Formatter(f"%(asctime)s {component} %(levelname)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter(component, **always) if form == "json" else text)
    logging.basicConfig(level=THRESHOLDS[level.lower()], handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _told
    threading.excepthook = _told_of_a_thread


def fail(sentence: str) -> NoReturn:
    """End the program with status 1, and say why: in the log, a line each, or plainly where there is none yet."""
    for line in sentence.splitlines():
        log.critical("%s", line)
    sys.exit(1)


def _told(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        log.critical("the program ends: %s: %s", kind.__name__, error, exc_info=(kind, error, traceback))


def _told_of_a_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is SystemExit:
        return  # as Python has it
    name = told.thread.name if told.thread is not None else "unknown"
    error = told.exc_value or told.exc_type()
    log.error("the thread %s ends: %s: %s", name, told.exc_type.__name__, error, exc_info=(told.exc_type, error, told.exc_traceback))
