"""What somebody does with a table, call after call: `python examples/frames/explore.py`."""

import asyncio
import struct

import snakepit

SALES = """city,year,sales
Paris,2024,120
Paris,2025,150
Rome,2024,80
Rome,2025,95
Oslo,2025,40
"""


async def main() -> None:
    async with snakepit.Client() as client, client.pool("frames").session(delete=True) as session:
        print("rows:", await session.call("load", {"csv": SALES}))
        print("of 2025:", await session.call("keep", {"column": "year", "op": "==", "value": 2025}))
        print("by city:", await session.call("totals", {"by": "city", "of": "sales"}))

        epoch = (await session.rebind()).epoch  # as when its worker has ended
        print(f"in epoch {epoch}:", await session.call("totals", {"by": "city", "of": "sales"}))

        png = await session.call("plot", {"by": "city", "of": "sales"})
        width, height = struct.unpack(">II", png[16:24])
        print(f"a PNG: {width} x {height}")

        svg = await session.call("plot", {"by": "city", "of": "sales", "form": "svg"})
        print("an SVG with:", ", ".join(city for city in ("Paris", "Rome", "Oslo") if f">{city}<" in svg.decode()))


if __name__ == "__main__":
    asyncio.run(main())
