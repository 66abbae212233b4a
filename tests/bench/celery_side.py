"""Celery's part of a comparison: the task, and a caller that keeps so many of them in flight.

As a program it does what `rounds.answer` does. BENCH_REDIS is the broker's and the result backend's URL.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from celery import Celery

from tests.bench.rounds import ROUND_SECONDS, TEXT

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.update(worker_prefetch_multiplier=16, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


@app.task(name="echo")
def echo(text: str) -> str:
    return text


def calls_per_second(callers: int) -> float:
    """Closed loop: each caller, a thread with connections of its own, waits for one result after another."""
    done = [0] * callers
    began = time.perf_counter()
    end = began + ROUND_SECONDS

    def caller(number: int) -> None:
        while time.perf_counter() < end:
            echo.delay(TEXT).get(timeout=30)
            done[number] += 1

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


if __name__ == "__main__":
    for line in sys.stdin:
        print(calls_per_second(int(line)), flush=True)
