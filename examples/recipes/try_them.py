"""Call a tool of each recipe: `python examples/recipes/try_them.py`. The caller needs pandas, too."""

import asyncio

import pandas

import snakepit


async def main() -> None:
    async with snakepit.Client() as client:
        orders = pandas.DataFrame({"item": ["tea", "milk"], "count": [2, 1]})
        print((await client.pool("tables").call("bill", {"orders": orders})).to_string(index=False))
        print("predicted:", [round(each, 6) for each in await client.pool("models").call("predict", {"values": [4.0]})])
        print("doubled:", await client.pool("orders").call("double", {"order": {"item": "tea", "count": 3}}))
        try:
            await client.pool("orders").call("double", {"order": {"item": "gin", "count": 1}})
        except snakepit.InvalidArguments as error:
            print("refused:", error.message)
        first = await client.pool("fresh").call("current")
        while await client.pool("fresh").call("current") <= first:
            await asyncio.sleep(0.05)
        print("a task of setup() goes on between calls")


if __name__ == "__main__":
    asyncio.run(main())
