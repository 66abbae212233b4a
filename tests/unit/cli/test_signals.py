"""A command that is told to end, at a moment when what a signal's handler raises goes nowhere."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, signal, sys
from snakepit.cli import ENDING, leave, signals

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))

async def work():
    try:
        Dropped()
        await asyncio.sleep(30)
    finally:
        print("closed")

for number in ENDING:
    signal.signal(number, leave)
signals.run(work())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_finalizer_ends_a_command_in_good_order(number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "closed\n", "")
