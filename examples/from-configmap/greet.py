"""Greet somebody: `python examples/from-configmap/greet.py`."""

import asyncio

import snakepit


async def main() -> None:
    async with snakepit.Client() as client:
        pool = client.pool("greeter")
        print(await pool.call("greet", {"name": "Ada"}))
        print(await pool.call("greet", {"name": "Ada", "language": "fr"}))


if __name__ == "__main__":
    asyncio.run(main())
