"""The audit log: one line of JSON for each decision on a right. It says who, what and why, and never what a call's arguments are."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import CANCEL_CALL, DELETE_SESSION, MAINTAIN, RESOURCE, Answer, Right

CHANGES = frozenset({MAINTAIN, CANCEL_CALL, DELETE_SESSION})
"""What somebody does to the work of others: rare, and asked about afterwards."""

DENIALS_A_MINUTE = 60
"""Of one subject, and through one gateway: who asks in vain all the time fills no disk, and hides nobody else's denials."""

LAST = "further denials of this subject within this minute are left out"

MOST_REMEMBERED = 8192
"""Subjects whose denials are counted; of one more, the one that was quiet longest is forgotten."""

log = logging.getLogger("snakepit.audit")


class Audit:
    """`level`: `all` decisions; those on `changes`, and denials; those that were `denied`; or `off`. `clock` in seconds, monotonic."""

    def __init__(self, level: str = "changes", clock: Callable[[], float] = time.monotonic) -> None:
        self._denied, self._all, self._changes = level != "off", level == "all", level == "changes"
        self._clock = clock
        self._counted: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def decided(self, caller: Caller, right: Right, what: str, answer: Answer) -> None:
        """Write it down, if the level says so, and there were not too many of it."""
        if answer.allowed:
            if self._all or (self._changes and right in CHANGES):
                _write(caller, right, what, answer)
        elif self._denied and (number := self._number(caller)) <= DENIALS_A_MINUTE:
            _write(caller, right, what, answer, **({"note": LAST} if number == DENIALS_A_MINUTE else {}))

    def _number(self, caller: Caller) -> int:
        """Of this denial, within the subject's minute."""
        key, now = (caller.subject, caller.sender), self._clock()
        since, number = self._counted.pop(key, (now, 0))
        if now - since >= 60.0:
            since, number = now, 0
        self._counted[key] = since, number + 1
        if len(self._counted) > MOST_REMEMBERED:
            self._counted.popitem(last=False)
        return number + 1


def _write(caller: Caller, right: Right, what: str, answer: Answer, **more: str) -> None:
    said = {"subject": caller.subject, "groups": caller.groups, "right": str(right)}
    how = "through" if caller.has_token else "impersonator"
    by = {how: caller.bearer.subject} if caller.bearer is not None else {}
    on = {"pool" if right.resource == RESOURCE else "name": what.removeprefix("/")}
    log.info("%s", json.dumps({**said, **by, **on, "allowed": answer.allowed, "reason": answer.reason[:200], **more}))
