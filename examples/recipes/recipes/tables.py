"""pandas and pyarrow: what is read by every call is loaded at import, and shared by all workers."""

import pandas
import pyarrow
import pyarrow.compute

from snakepit import Adapter, tool

PRICES = pandas.DataFrame({"item": ["tea", "milk"], "price": [4.5, 1.2]})


class Tables(Adapter):
    @tool
    def bill(self, orders: pandas.DataFrame) -> pandas.DataFrame:
        """What each order costs."""
        priced = orders.merge(PRICES, on="item")
        return priced.assign(cost=priced["price"] * priced["count"])[["item", "cost"]]

    @tool
    def count(self, orders: pyarrow.Table) -> int:
        return pyarrow.compute.sum(orders["count"]).as_py()
