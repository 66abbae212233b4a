"""The audit log: one line of JSON for each decision on a right. It says who, what and why, and never what a call's arguments are."""

from __future__ import annotations

import json
import logging

from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import RESOURCE, Answer, Right

LEVELS = ("off", "denied", "all")

log = logging.getLogger("snakepit.audit")


class Audit:
    """`level`: `all` decisions, those that were `denied`, or `off`."""

    def __init__(self, level: str = "denied") -> None:
        self._denied, self._allowed = level != "off", level == "all"

    def decided(self, caller: Caller, right: Right, what: str, answer: Answer) -> None:
        """Write it down, if the level says so."""
        if self._allowed if answer.allowed else self._denied:
            said = {"subject": caller.subject, "groups": caller.groups, "right": str(right)}
            how = "through" if caller.has_token else "impersonator"
            by = {how: caller.bearer.subject} if caller.bearer is not None else {}
            on = {"pool" if right.resource == RESOURCE else "name": what.removeprefix("/")}
            log.info("%s", json.dumps({**said, **by, **on, "allowed": answer.allowed, "reason": answer.reason[:200]}))
