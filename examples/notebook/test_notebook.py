"""The notebook, tool by tool, in the test's own process and in a real worker. `pytest examples/notebook`."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import snakepit.testing
import snakepit_worker.testing
from notebook.chart import bars
from notebook.tools import Notebook
from snakepit import InvalidArguments, ToolError

SALES = Path(__file__, "../sales.csv").resolve().read_text()
BY_CITY = "SELECT city, sum(sales) AS sales FROM sales GROUP BY city ORDER BY sales DESC"


@pytest.fixture(params=[snakepit.testing.start, snakepit_worker.testing.start], ids=["in this process", "in a worker"])
def notebook(request: pytest.FixtureRequest) -> Iterator[snakepit.testing.Harness | snakepit_worker.testing.LocalWorker]:
    with request.param(Notebook) as notebook:
        yield notebook


def test_a_table_that_was_loaded_can_be_asked(notebook) -> None:
    assert notebook.call("load", {"table": "sales", "csv": SALES}, session_id="ada") == 5
    assert notebook.call("query", {"sql": BY_CITY}, session_id="ada")[0] == {"city": "Paris", "sales": 270}


def test_each_session_has_its_own_tables(notebook) -> None:
    notebook.call("load", {"table": "sales", "csv": SALES}, session_id="ada")
    with pytest.raises(ToolError, match="no such table: sales"):
        notebook.call("query", {"sql": BY_CITY}, session_id="bob")


def test_rows_come_one_by_one(notebook) -> None:
    notebook.call("load", {"table": "sales", "csv": SALES}, session_id="ada")
    assert [row["city"] for row in notebook.stream("rows", {"sql": BY_CITY}, session_id="ada")] == ["Paris", "Rome", "Oslo"]


def test_a_chart_is_a_picture(notebook) -> None:
    notebook.call("load", {"table": "sales", "csv": SALES}, session_id="ada")
    picture = notebook.call("chart", {"sql": BY_CITY}, session_id="ada")
    assert picture.startswith(b"<svg")
    assert picture.count(b"<rect") == 3


def test_a_name_that_is_none_never_reaches_the_tool(notebook) -> None:
    with pytest.raises(InvalidArguments, match="table"):
        notebook.call("load", {"table": "no table; drop", "csv": SALES}, session_id="ada")


def test_a_question_changes_nothing(notebook) -> None:
    notebook.call("load", {"table": "sales", "csv": SALES}, session_id="ada")
    with pytest.raises(ToolError, match="readonly"):
        notebook.call("query", {"sql": "DELETE FROM sales"}, session_id="ada")
    assert len(notebook.call("query", {"sql": "SELECT * FROM sales"}, session_id="ada")) == 5


def test_without_a_session_there_is_no_table(notebook) -> None:
    with pytest.raises(ToolError, match="call with one"):
        notebook.call("query", {"sql": "SELECT 1"})


def test_a_session_goes_on_in_another_worker_when_its_own_is_killed() -> None:
    with snakepit_worker.testing.LocalAgent() as agent:
        first = agent.start("notebook.tools:Notebook")
        first.call("load", {"table": "sales", "csv": SALES}, session_id="ada")
        first.signal(signal.SIGKILL)
        first.exited()
        second = agent.start("notebook.tools:Notebook")
        assert second.call("query", {"sql": BY_CITY}, session_id="ada")[0] == {"city": "Paris", "sales": 270}


def test_labels_in_a_chart_are_text() -> None:
    assert "&lt;b&gt;" in bars([("<b>", 1.0)])
