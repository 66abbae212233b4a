"""What a worker runs on: its Python, and what the kernel says of its container: CPUs, and kills for want of memory."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path


def python() -> str:
    """For the workers' list: "3.13.2", or what more there is to say of a free-threaded one."""
    return describe_python(platform.python_version(), sys.abiflags, gil=getattr(sys, "_is_gil_enabled", lambda: True)())


def describe_python(version: str, abiflags: str, *, gil: bool) -> str:
    """The same, of a Python that is given in parts."""
    if "t" not in abiflags:
        return version
    return f"{version} free-threaded" + (", but the GIL is on: an extension module or PYTHON_GIL asked for it" if gil else "")


def cpus(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> float:
    """CPUs that this container may use: its limit, or those of the machine that it may run on."""
    allowed = float(len(os.sched_getaffinity(0)))
    return min([allowed, *_limits(root, groups)])


def _limits(root: Path, groups: Path) -> Iterator[float]:
    """cgroup v2, then v1. A container sees its own group as the root, or at its own path."""
    for line in groups.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        for folder in (root / group.lstrip("/"), root, root / "cpu" / group.lstrip("/"), root / "cpu"):
            if controllers == "" or "cpu" in controllers.split(","):
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (v2 := folder / "cpu.max").exists():
            quota, period = v2.read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except (OSError, ValueError):
        return
    if quota not in ("max", "-1"):
        yield int(quota) / int(period)


def out_of_memory_file() -> Path | None:
    """The file of this process's cgroup that counts out-of-memory kills; None where it can't be told."""
    return next((path for path in _counters() if os.access(path, os.R_OK)), None)


def _counters() -> Iterator[Path]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            yield from _under(Path("/sys/fs/cgroup"), group, "memory.events")
        elif "memory" in controllers.split(","):
            yield from _under(Path("/sys/fs/cgroup/memory"), group, "memory.oom_control")


def _under(mount: Path, group: str, name: str) -> Iterator[Path]:
    """A container sees its own group at its own path, or mounted as the root."""
    yield mount / group.lstrip("/") / name
    yield mount / name
