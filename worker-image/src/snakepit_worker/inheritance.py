"""What a fork of the zygote must not have from it: what runs at the end of the process, and the state of random numbers.

`random`, `secrets` and `uuid` see to it themselves.
"""

from __future__ import annotations

import atexit
import logging
import sys
import weakref
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("snakepit.zygote")

_finalizers: list[Any] = []
"""Functions and arguments: kept, so that nothing that they hold ends here, and never called."""


def renounce() -> None:
    """In a fork, before anything of the author's runs there."""
    _leave_the_end()
    _draw_anew()


def _leave_the_end() -> None:
    """What the import has registered is of the import: the folder that it would delete is every worker's."""
    _finalizers.extend(dropped[1:] for each in list(weakref.finalize._registry) if (dropped := each.detach()))  # type: ignore[attr-defined]
    atexit._clear()
    for handler in _of_the_interpreter():
        atexit.register(handler)


def _of_the_interpreter() -> list[Callable[[], object]]:
    """What the standard library has registered for every process that it is in."""
    handlers: list[Callable[[], object]] = [logging.shutdown]
    if "multiprocessing.util" in sys.modules:
        handlers.append(sys.modules["multiprocessing.util"]._exit_function)
    if weakref.finalize._registered_with_atexit:  # type: ignore[attr-defined]
        handlers.append(weakref.finalize._exitfunc)  # type: ignore[attr-defined]
    return handlers


def _draw_anew() -> None:
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    try:
        if numpy is not None:
            numpy.seed()
        if torch is not None:
            torch.default_generator.seed()
    except Exception:
        logger.exception("a generator of random numbers can't be seeded anew: this worker may draw the same numbers as others")
