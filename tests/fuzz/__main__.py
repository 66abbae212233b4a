"""`make fuzz`: FUZZ_SECONDS (600) of fuzzing, the same for each target, or for those that FUZZ_ONLY names; what was found ends it with 1.

Inputs that reach further stay in build/fuzz for the next time. What is found lies beside the target's seeds: it is one, once it is mended.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from typing import NoReturn

SEEDS = Path(__file__).parent / "seeds"
KEPT = Path(__file__).parents[2] / "build" / "fuzz"
INSTRUMENTED = ["snakepit", "snakepit_agent", "snakepit_control_plane", "snakepit_worker", "jwt", "yaml", "wsgiref"]
INPUT_SECONDS = 120
"""An input that takes longer hangs; what only takes the processor for long, see `target.MOST_SECONDS`."""

MEMORY_MIB = 1024

_RUNS = re.compile(r"number_of_executed_units: (\d+)")


def main() -> int:
    seconds, only = int(os.environ.get("FUZZ_SECONDS", "600")), os.environ.get("FUZZ_ONLY", "").split()
    kept = Path(os.environ.get("FUZZ_CORPUS", KEPT))
    import atheris

    sys.path.insert(0, str(Path(__file__).parents[1]))
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere), atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.every import TARGETS
    names = only or list(TARGETS)
    each = max(1, seconds // len(names))
    found = [name for name in names if not _campaign(name, each, kept / name)]
    if found:
        print(f"found: {', '.join(found)}. The input lies in tests/fuzz/seeds, where tests/fuzz/test_fuzz.py tries it from now on")
    return 1 if found else 0


def _campaign(name: str, seconds: int, kept: Path) -> bool:
    """In a process of its own, as a campaign ends its process. True: nothing was found."""
    kept.mkdir(parents=True, exist_ok=True)
    (SEEDS / name).mkdir(parents=True, exist_ok=True)
    log, began = kept.with_suffix(".log"), time.monotonic()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _fuzz(name, seconds, kept, log)
    _, status = os.waitpid(pid, 0)
    said, took = log.read_text(errors="replace"), time.monotonic() - began
    runs = int(_RUNS.findall(said)[-1]) if _RUNS.search(said) else 0
    print(f"{name:26} {runs:9} runs {runs / took:8.0f}/s  {'ok' if not status else 'FOUND'}", flush=True)
    if status:
        print(said[-4000:])
    return not status


def _fuzz(name: str, seconds: int, kept: Path, log: Path) -> NoReturn:
    import atheris

    from fuzz.target import MOST_BYTES, TARGETS

    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
    bounds = [
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        "-report_slow_units=999",
    ]
    folders = [str(kept), str(SEEDS / name)]
    options = [f"-artifact_prefix={SEEDS / name}/found-", "-print_final_stats=1", "-reload=0"]
    atheris.Setup([name, *bounds, *options, *folders], TARGETS[name])
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
