"""The first page: every pool that its reader may see, how it is, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from starlette.requests import Request

from snakepit._tasks import ask_each
from snakepit.client.findings import of_pool
from snakepit.client.history import PoolHistory
from snakepit.client.views import PoolInfo
from snakepit.errors import SnakepitError
from snakepit_gateway.console.desk import Context, draw, said
from snakepit_gateway.console.live import Part
from snakepit_gateway.console.picture import Spark, element_id, spark
from snakepit_gateway.console.viewer import Viewer

T = TypeVar("T")

POOLS_A_PAGE = 50
HISTORY_SECONDS = 5.0
_AT_ONCE = 8


class Row(msgspec.Struct, frozen=True):
    """One pool of the list. `history` None: its reader may not see it."""

    info: PoolInfo
    wrong: str
    history: PoolHistory | None
    spark: Spark


async def gather(viewer: Viewer, request: Request) -> Context:
    """What the page shows."""
    wanted = said(request, "find")
    pools = await viewer.everything()
    found = [each for each in pools if wanted in each.name]
    shown, pages = paged(request, found, POOLS_A_PAGE)

    async def row(info: PoolInfo) -> Row:
        history = await history_of(viewer, info.name, HISTORY_SECONDS)
        return Row(info, wrong(info), history, spark(history.minutes if history else [], datetime.now(UTC)))

    rows = await ask_each(shown, row, at_once=_AT_ONCE)
    sick = [(each, why) for each in pools if (why := wrong(each))]
    made = tuple(Part(id_ := element_id("p-", each.info.name), draw("pool_row", each, id_)) for each in rows)
    shape = " ".join(each.id for each in made) + f" {len(found)}"
    return {"sick": sick, "all": len(pools), "find": wanted, "children": {"pools": (shape, made)}, **pages}


def wrong(info: PoolInfo) -> str:
    """What is wrong with a pool, in the words of its condition; empty: nothing."""
    return "; ".join(f"{each.reason}: {each.message}" for each in of_pool(info, []))


async def history_of(viewer: Viewer, name: str, every: float) -> PoolHistory | None:
    """The pool's last hour; None where its reader may not see it, or nobody knows it now."""
    try:
        return await viewer.history(name, every)
    except SnakepitError:
        return None


def paged(request: Request, items: Sequence[T], each: int) -> tuple[Sequence[T], Context]:
    """Of a long list the page that is asked for, from 0 on, and one that is there; and its number and theirs, for `ui.pager`."""
    text, pages = request.query_params.get("page", "0"), -(-len(items) // each) or 1
    page = min(int(text), pages - 1) if text.isdecimal() and len(text) < 8 else 0
    return items[page * each : (page + 1) * each], {"page": page, "pages": pages}
