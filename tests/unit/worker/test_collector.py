"""The process that gathers what workers print: slow or new, it loses none of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal
from snakepit._ipc.sockets import close_all
from snakepit_worker.collector import Collector

collector = Collector()
{before}
number = 0
while True:
    key = str(number)
    sink = collector.open(key, "worker", f"pool/{{number}}")
    os.write(sink.output, f"line {{number}}\\n".encode())
    close_all(sink)
    collector.close(key)
    number += 1
    if {enough}:
        break
os.kill(collector.pid, signal.SIGCONT)
while collector.flush():
    pass
print(number, flush=True)
input()
collector.dismiss()
"""


@pytest.mark.parametrize(
    ("before", "enough"),
    [("", "number == 50"), ("os.kill(collector.pid, signal.SIGSTOP)", "collector.flush()")],
    ids=["it listens", "it doesn't listen, and no more can be told to it"],
)
def test_what_a_process_printed_comes_out_also_if_it_ended_before_the_collector_heard_of_it(before: str, enough: str) -> None:
    program = PROGRAM.format(before=before, enough=enough)
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        number = int(process.stdout.readline())
        lines = [process.stderr.readline() for _ in range(number)]
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(30) == 0
    assert number > 10
    assert sorted(json.loads(line)["message"] for line in lines) == sorted(f"line {each}" for each in range(number))
