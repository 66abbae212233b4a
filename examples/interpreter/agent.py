"""What an agent does with an interpreter, without the model: `python examples/interpreter/agent.py`."""

import asyncio

import snakepit

SALES = b"city,sales\nParis,270\nRome,130\nOslo,90\n"
CHART = """
from IPython.display import SVG
bars = [f'<rect y="{20 * at}" width="{row["sales"]}" height="18"/>' for at, row in enumerate(rows)]
SVG(f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(bars)}</svg>')
"""


async def main() -> None:
    async with snakepit.Client() as client, client.pool("interpreter").session(delete=True) as python:
        await python.call("put", {"name": "sales.csv", "data": SALES})

        rows = "import csv\nrows = list(csv.DictReader(open('sales.csv')))\nlen(rows)"
        print("rows:", (await python.call("run", {"code": rows}))["result"])

        total = "sum(int(row['sales']) for row in rows)"
        print("it remembers them:", (await python.call("run", {"code": total}))["result"])

        (chart,) = (await python.call("run", {"code": CHART}))["shown"]
        print("a chart:", chart["media"], "with", chart["data"].count(b"<rect"), "bars")

        wrong = await python.call("run", {"code": "rows[7]"})
        print("what it did wrong:", wrong["error"].splitlines()[-1])

        shell = await python.call("run", {"code": "!head -1 sales.csv"})
        print("a shell's command:", shell["output"].strip())

        try:
            await python.call("run", {"code": "while True: pass"}, timeout=1)
        except snakepit.DeadlineExceeded as error:
            print("what takes too long:", error.reason)

        report = "with open('report.txt', 'w') as file:\n    print(len(rows), 'cities', file=file)"
        await python.call("run", {"code": report})
        print("its files:", ", ".join(await python.call("files")))
        print("report.txt:", (await python.call("get", {"name": "report.txt"})).decode().strip())


if __name__ == "__main__":
    asyncio.run(main())
