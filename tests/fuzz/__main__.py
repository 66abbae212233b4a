"""`make fuzz`: FUZZ_SECONDS (600) of fuzzing, the same for each kind of target, or for those that FUZZ_ONLY names: kinds or targets.

FUZZ_PROCESSES (2) campaigns go on at the same time. What was found ends it with 1. Inputs that reach further stay in build/fuzz for the
next time. What is found lies beside the target's seeds: it is one, once it is mended.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

SEEDS = Path(__file__).parent / "seeds"
KEPT = Path(__file__).parents[2] / "build" / "fuzz"
INSTRUMENTED = ["snakepit", "snakepit_agent", "snakepit_control_plane", "snakepit_worker", "jwt", "yaml", "wsgiref"]
INPUT_SECONDS = 120
"""An input that takes longer hangs; what only takes the processor for long, see `target.MOST_SECONDS`."""

MEMORY_MIB = 1024

_RUNS = re.compile(r"number_of_executed_units: (\d+)")


@dataclass
class Campaign:
    """New bytes for one target, in a process of its own, as a campaign ends its process."""

    kind: str
    name: str
    seconds: int
    kept: Path
    began: float = 0.0

    @property
    def log(self) -> Path:
        return self.kept.with_suffix(".log")

    def start(self) -> int:
        """Its process."""
        self.kept.mkdir(parents=True, exist_ok=True)
        (SEEDS / self.name).mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _fuzz(self)
        return pid

    def ended(self, status: int) -> bool:
        """Say how it went. True: nothing was found."""
        said, took = self.log.read_text(errors="replace"), time.monotonic() - self.began
        runs = int(_RUNS.findall(said)[-1]) if _RUNS.search(said) else 0
        print(f"{self.kind:9} {self.name:24} {took:5.0f} s {runs:9} runs {runs / took:8.0f}/s  {'FOUND' if status else 'ok'}", flush=True)
        if status:
            print(said[-4000:])
        return not status


def main() -> int:
    seconds, only = int(os.environ.get("FUZZ_SECONDS", "600")), os.environ.get("FUZZ_ONLY", "").split()
    kept = Path(os.environ.get("FUZZ_CORPUS", KEPT))
    kinds = chosen(_imported(), only)
    campaigns = plan(kinds, seconds, kept)
    found = _run(campaigns, int(os.environ.get("FUZZ_PROCESSES", "2")))
    for kind, names in kinds.items():
        print(f"{kind}: {sum(each.seconds for each in campaigns if each.kind == kind)} s, shared by {len(names)} targets")
    if found:
        print(f"found: {', '.join(found)}. The input lies in tests/fuzz/seeds, where tests/fuzz/test_fuzz.py tries it from now on")
    return 1 if found else 0


def _imported() -> dict[str, list[str]]:
    """The kinds, of targets that tell atheris where an input has led: their modules are made once, for all campaigns."""
    import atheris

    sys.path.insert(0, str(Path(__file__).parents[1]))
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere), atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.every import KINDS
    return KINDS


def chosen(kinds: Mapping[str, list[str]], only: Sequence[str]) -> dict[str, list[str]]:
    """All of them, or what is named. Raises SystemExit for a name that nothing has."""
    if not only:
        return dict(kinds)
    known = {*kinds, *(name for names in kinds.values() for name in names)}
    if unknown := sorted({*only} - known):
        raise SystemExit(f"FUZZ_ONLY: {unknown[0]!r} is neither a kind nor a target: use {', '.join(sorted(known))}")
    left = {kind: [name for name in names if kind in only or name in only] for kind, names in kinds.items()}
    return {kind: names for kind, names in left.items() if names}


def plan(kinds: Mapping[str, list[str]], seconds: int, kept: Path) -> list[Campaign]:
    """The same whole seconds for each kind, shared by its targets, each of which has one at least. Those that take longest come first."""
    campaigns = []
    for kind, names in kinds.items():
        each, more = divmod(seconds // len(kinds), len(names))
        campaigns += [Campaign(kind, name, max(1, each + (number < more)), kept / name) for number, name in enumerate(names)]
    return sorted(campaigns, key=lambda campaign: -campaign.seconds)


def _run(campaigns: list[Campaign], processes: int) -> list[str]:
    """The names of those that have found something."""
    waiting, running, found = campaigns[::-1], dict[int, Campaign](), list[str]()
    while waiting or running:
        while waiting and len(running) < processes:
            campaign = waiting.pop()
            running[campaign.start()] = campaign
        pid, status = os.wait()
        campaign = running.pop(pid)
        if not campaign.ended(status):
            found.append(campaign.name)
    return found


def _fuzz(campaign: Campaign) -> NoReturn:
    import atheris

    from fuzz.target import MOST_BYTES, TARGETS

    os.dup2(os.open(campaign.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
    bounds = [
        f"-max_total_time={max(1, campaign.seconds - 1)}",  # It ends when more than that have passed, in whole seconds.
        f"-max_len={MOST_BYTES}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        "-report_slow_units=999",
    ]
    seeds = SEEDS / campaign.name
    options = [f"-artifact_prefix={seeds}/found-", "-print_final_stats=1", "-reload=0"]
    atheris.Setup([campaign.name, *bounds, *options, str(campaign.kept), str(seeds)], TARGETS[campaign.name])
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
