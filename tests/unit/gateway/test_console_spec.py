"""A pool's spec beside its defaults."""

from __future__ import annotations

import msgspec

from snakepit.spec import SnakePoolSpec, encode_spec
from snakepit.spec.fields import CallSpec, WorkerSpec
from snakepit_gateway.console.spec import Field, fields


def test_what_differs_from_its_default_comes_first_and_what_has_none_is_told_apart() -> None:
    spec = SnakePoolSpec(worker=WorkerSpec(adapter="digits.tools:Digits", processes=7), replicas=2, call=CallSpec(timeout_seconds=5))
    found = fields(msgspec.json.decode(encode_spec(spec)))
    differing = [each for each in found if each.differs]
    assert differing == found[: len(differing)]
    assert {each.path: (each.value, each.default) for each in differing} == {
        "worker.adapter": ('"digits.tools:Digits"', ""),
        "worker.processes": ("7", "1"),
        "call.timeoutSeconds": ("5", "300"),
    }
    assert Field("replicas", "2", "2", False) in found
