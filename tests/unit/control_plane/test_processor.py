"""What a thread waits for a processor is counted, and not what it runs or sleeps."""

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
from snakepit_control_plane.processor import waited_seconds

def stolen_seconds():
    # Of the processor, by a hypervisor.
    with open("/proc/stat") as file:
        (words,) = [line.split() for line in file if line.startswith(f"cpu{mine} ")]
    return int(words[8]) / os.sysconf("SC_CLK_TCK")

mine = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {mine})
rival = os.fork()
if not rival:
    end = time.monotonic() + 20
    while time.monotonic() < end: pass
    os._exit(0)
stolen, began, ran, waited = stolen_seconds(), time.monotonic(), time.thread_time(), waited_seconds()
while time.thread_time() < ran + 0.3: pass
print(json.dumps([time.monotonic() - began, time.thread_time() - ran, waited_seconds() - waited, stolen_seconds() - stolen]))
os.kill(rival, 9)
os.waitpid(rival, 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count is Linux'")
def test_what_a_neighbour_takes_is_waited_for() -> None:
    """Both want the same processor all the time. What a hypervisor takes of it is waited for only while the other one has it."""
    done = subprocess.run([sys.executable, "-c", RIVALS], capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    passed, ran, waited, stolen = json.loads(done.stdout)
    assert passed > 1.3 * ran
    assert 0.9 * (passed - ran) - stolen <= waited <= 1.1 * (passed - ran), (passed, ran, waited, stolen)


def test_a_thread_that_waits_for_something_else_wants_no_processor() -> None:
    began, before = time.monotonic(), processor.waited_seconds()
    threading.Event().wait(1.0)
    waited = processor.waited_seconds() - before
    assert waited <= time.monotonic() - began - 1.0 + 0.01, "for no longer than it took beyond what it waited for"


@pytest.mark.parametrize("text", [None, "nothing of the kind"])
def test_without_the_kernels_count_it_is_nothing(text: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "schedstat"
    if text:
        file.write_text(text)
    monkeypatch.setattr(processor, "_SCHEDULED", file)
    assert processor.waited_seconds() == 0.0
