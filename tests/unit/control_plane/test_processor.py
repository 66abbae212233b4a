"""A thread is busy while it runs or waits for a processor, and not while it sleeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from snakepit_control_plane import processor

RIVALS = """
import json, os, sys, time
from snakepit_control_plane.processor import busy_seconds
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
rival = os.fork()
if not rival:
    end = time.monotonic() + 20
    while time.monotonic() < end: pass
    os._exit(0)
began, ran, busy = time.monotonic(), time.thread_time(), busy_seconds()
while time.thread_time() < ran + 0.3: pass
print(json.dumps([time.monotonic() - began, time.thread_time() - ran, busy_seconds() - busy]))
os.kill(rival, 9)
os.waitpid(rival, 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count is Linux'")
def test_what_a_neighbour_takes_counts() -> None:
    """Both want the same processor all the time."""
    done = subprocess.run([sys.executable, "-c", RIVALS], capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    passed, ran, busy = json.loads(done.stdout)
    assert passed > 1.3 * ran
    assert busy == pytest.approx(passed, rel=0.1)


def test_a_thread_that_waits_for_something_else_is_not_busy() -> None:
    before = processor.busy_seconds()
    threading.Event().wait(1.0)
    assert processor.busy_seconds() - before < 0.7


def test_without_the_kernels_count_it_is_the_time_that_the_thread_ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text in (None, "nothing of the kind"):
        file = tmp_path / "schedstat"
        if text:
            file.write_text(text)
        monkeypatch.setattr(processor, "_SCHEDULED", file)
        assert processor.busy_seconds() == pytest.approx(time.thread_time(), abs=0.1)
