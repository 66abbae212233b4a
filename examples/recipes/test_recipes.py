"""The recipes of docs/libraries.md in real workers. `pytest examples/recipes`."""

import re

import pandas
import pyarrow
import pytest

import snakepit_worker.testing
from recipes.background import Fresh
from recipes.models import Models
from recipes.orders import Orders
from recipes.tables import Tables
from snakepit import InvalidArguments


def test_tables_go_in_and_come_back() -> None:
    with snakepit_worker.testing.start(Tables) as tables:
        assert tables.note == ""
        orders = pandas.DataFrame({"item": ["tea", "milk"], "count": [2, 1]})
        bill = tables.call("bill", {"orders": orders})
        assert dict(zip(bill["item"], bill["cost"], strict=True)) == {"tea": 9.0, "milk": 1.2}
        assert tables.call("count", {"orders": pyarrow.table({"count": [2, 1]})}) == 3


def test_a_model_of_the_import_predicts_in_every_worker() -> None:
    with snakepit_worker.testing.start(Models) as models:
        assert models.note == ""
        assert models.call("predict", {"values": [4.0]}) == pytest.approx([8.0])
        first = models.call("sample")
    with snakepit_worker.testing.start(Models) as models:
        assert models.call("sample") != first


def test_models_of_pydantic_are_validated_before_the_tool_runs() -> None:
    with snakepit_worker.testing.start(Orders) as orders:
        assert orders.call("double", {"order": {"item": "tea", "count": 60}}) == {"item": "tea", "count": 100}
        with pytest.raises(InvalidArguments, match=re.escape("we sell tea and milk")):
            orders.call("double", {"order": {"item": "gin", "count": 1}})
        with pytest.raises(InvalidArguments, match="limit"):
            orders.call("double", {"order": {"item": "tea", "count": 1}, "limit": 0})


def test_a_task_of_setup_runs_between_calls() -> None:
    with snakepit_worker.testing.start(Fresh) as fresh:
        before = fresh.call("current")
        snakepit_worker.testing.wait_until(lambda: fresh.call("current") >= before + 3)
