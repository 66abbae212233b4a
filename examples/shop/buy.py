"""Buy something, and answer the tool's question on the terminal: the worker calls `confirm` here. `python buy.py [tea]`."""

import asyncio
import sys

import snakepit


def confirm(question: str) -> bool:
    """Ask the person at the terminal."""
    return input(f"{question} [y/n] ").strip().lower() == "y"


async def main(item: str) -> None:
    async with snakepit.Client() as client, client.pool("shop").session(delete=True) as session, client.offer(confirm, session=session):
        print(await session.call("order", {"item": item}, timeout=120))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "tea"))
