"""For schemathesis (SCHEMATHESIS_HOOKS): every answer that is a failure is a problem of the table, with the status that stands there."""

from __future__ import annotations

from typing import Any

import schemathesis

from snakepit.errors import BY_REASON, ToolError
from snakepit_gateway.problems import OF_HTTP

STATUSES = {each.reason: each.http for each in (*BY_REASON.values(), ToolError, *OF_HTTP)}


@schemathesis.check
def in_the_table(_: Any, response: Any, __: Any) -> None:
    if response.status_code >= 400:
        problem = response.json()
        assert STATUSES.get(problem["reason"]) == response.status_code == problem["status"], problem
