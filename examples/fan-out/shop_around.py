"""Compare prices, with a deadline of two seconds: `python examples/fan-out/shop_around.py`."""

import asyncio

import snakepit

SELLERS = ["ada", "bob", "sleepy", "cleo", "broken"]


async def main() -> None:
    async with snakepit.Client() as client:
        pool = client.pool("compare")
        found = await pool.call("compare", {"item": "tea", "sellers": SELLERS}, timeout=2)
        for seller, price in sorted(found["prices"].items()):
            print(f"{seller}: {price}")
        for seller, reason in sorted(found["failures"].items()):
            print(f"{seller}: no price, {reason}")

        try:
            await pool.call("compare", {"item": "tea", "sellers": ["broken"]}, timeout=2)
        except snakepit.ToolError as error:
            print("nobody:", error)


if __name__ == "__main__":
    asyncio.run(main())
