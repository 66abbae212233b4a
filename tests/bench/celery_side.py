"""Celery's part of a comparison: the task, and a caller that keeps so many of them in flight. Runs in an environment of its own.

As a program it reads `SECONDS` lines and answers each with the calls/s of a round: `celery_side.py CALLERS`. BENCH_REDIS is the broker's
and the result backend's URL.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.update(worker_prefetch_multiplier=16, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


@app.task(name="echo")
def echo(text: str) -> str:
    return text


def calls_per_second(callers: int, seconds: float) -> float:
    """Closed loop: each caller, a thread with connections of its own, waits for one result after another."""
    done = [0] * callers
    began = time.perf_counter()
    end = began + seconds

    def caller(number: int) -> None:
        while time.perf_counter() < end:
            echo.delay("x" * 89).get(timeout=30)
            done[number] += 1

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


if __name__ == "__main__":
    for line in sys.stdin:
        print(calls_per_second(int(sys.argv[1]), float(line)), flush=True)
