"""Classify all held-out digits through a pool: `classify_job.py [SERVER]`. The last line is the result, as JSON."""

import asyncio
import json
import sys
import time

import snakepit

CALLERS = 16


async def main(server: str | None) -> None:
    async with snakepit.Client(server) as client:
        pool = client.pool("default/digits")
        data = await pool.call("held_out", timeout=30)
        todo = list(zip(data["images"], data["labels"], strict=True))
        hits = 0

        async def caller() -> None:
            nonlocal hits
            while todo:
                image, label = todo.pop()
                answer = await pool.call("classify", {"image": image}, timeout=30)
                hits += answer == label

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        seconds = time.perf_counter() - began
    digits = len(data["labels"])
    print(json.dumps({"digits": digits, "accuracy": round(hits / digits, 4), "calls_per_second": round(digits / seconds)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
