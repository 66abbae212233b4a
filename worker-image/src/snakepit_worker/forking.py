"""What keeps a process from being forked: threads, processes, connections and positions in files that an import has left.

A fork has no thread but its own, and shares the rest with its siblings, so that it breaks in ways that are hard to find: a worker reads
what another has asked for. It is looked for once, in the zygote; a fork itself asks nothing.

And what a fork must not have from the zygote: what runs at the end of the process, and the state of random numbers. `random`, `secrets`
and `uuid` see to it themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakepit_worker import descriptors
from snakepit_worker.descriptors import counted
from snakepit_worker.processes import children, has_ended

SETTLE_SECONDS = 0.1
"""Threads and processes of an import that has just ended may need a moment to end too."""

ENVIRONMENT = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Keeps libarrow from starting a thread when it is loaded, and `torch.cuda.is_available()` from beginning to use CUDA."""

KINDS = (
    ("jemalloc_bg_thd", "of jemalloc, a library's allocator: background_thread:false in its MALLOC_CONF variable prevents it"),
    ("event_engine", "of gRPC: make channels in setup()"),
    ("grpc_", "of gRPC: make channels in setup()"),
    ("polars-", "of polars, which can't be forked"),
    ("tf_", "of TensorFlow: load models in setup()"),
)
"""How the names of native threads begin, and what is to be done."""

NAMELESS = (
    ("onnxruntime", "of onnxruntime: ORT_DISABLE_TELEMETRY=1 prevents its telemetry"),
    ("torch", "of torch, or of BLAS or OpenMP: compute nothing at import, or set OMP_NUM_THREADS=1"),
)
"""Modules whose native threads have the name of the process."""

_BLAS = "of BLAS or OpenMP, OMP_NUM_THREADS=1 prevents them"


def prepare() -> None:
    """Before the import. What the author has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def watched(work: Callable[[], object]) -> str:
    """Do it; what it has left that a fork would break, as part of a sentence, or nothing."""
    before = descriptors.opened()
    work()
    _settle()
    left = [_describe_threads(), _describe_children(), *descriptors.hindrances(before)]
    return " and ".join(filter(None, left)) or _describe_cuda()


def _settle() -> None:
    end = time.monotonic() + SETTLE_SECONDS
    while (len(_tasks()) > 1 or _living()) and time.monotonic() < end:
        time.sleep(0.005)


# ---- threads


def _tasks() -> list[Path]:
    """Threads of this process, those of native libraries included."""
    return list(Path("/proc/self/task").iterdir())


def _describe_threads() -> str:
    names = {each.native_id: each.name for each in threading.enumerate()}
    own = _comm(os.getpid())
    others = [int(each.name) for each in _tasks() if int(each.name) != os.getpid()]
    shown = [names[task] if task in names else _native(_comm(task), own) for task in others]
    return counted("thread", shown) if shown else ""


def _comm(task: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/self/task/{task}/comm").read_text().strip()
    return ""


def _native(name: str, own: str) -> str:
    """One that is not Python's, and what prevents it."""
    if name != own:
        advice = next((advice for start, advice in KINDS if name.startswith(start)), "")
        return f"{name}, {advice}" if advice else name
    loaded = next((advice for module, advice in NAMELESS if module in sys.modules), "")
    return f"not Python's: {loaded or (_BLAS if os.environ.get('OMP_NUM_THREADS') != '1' else 'of a native library')}"


# ---- processes


def _living() -> list[int]:
    return [pid for pid in children() if not has_ended(pid)]


def _describe_children() -> str:
    commands = [_command(pid) for pid in _living()]
    return counted("child process", commands) if commands else ""


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:60]
    return ""


# ---- CUDA


def _describe_cuda() -> str:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not (_says(cuda, "is_initialized") or _in_a_fork(lambda: _says(cuda, "_is_in_bad_fork"))):
        return ""
    return descriptors.cuda("torch")


def _says(module: Any, name: str) -> bool:
    return bool(getattr(module, name, bool)())


def _in_a_fork(question: Callable[[], bool]) -> bool:
    """Ask in a short-lived fork: torch knows it only there."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(question())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0


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
