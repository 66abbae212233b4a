"""The tests' own programs are told to end by any signal, also where the tests run under `nohup` or in a shell's background.

They end with the tests, too, where those are told to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.signals import IGNORED_BY_SHELLS

SUITE = """
import os, signal, subprocess, sys
from support import signals

signals.hear()
os.kill(os.getpid(), number := int(sys.argv[1]))
print(subprocess.run([sys.executable, "-c", f"import os, signal; signal.raise_signal({number}); print('goes on')"], stderr=-3).returncode)
"""


def ignore_all() -> None:
    for number in IGNORED_BY_SHELLS:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("number", IGNORED_BY_SHELLS)
def test_a_signal_that_the_shell_ignores_ends_what_tests_start_and_not_the_tests(number: signal.Signals) -> None:
    command = [sys.executable, "-c", SUITE, str(int(number))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, preexec_fn=ignore_all, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"{-number}\n")


ENDING = """
import os, signal
from support import signals

signals.end_in_order()
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    print("programs ended")
"""


def test_tests_that_are_terminated_end_their_programs_first() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ENDING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "programs ended\n"
