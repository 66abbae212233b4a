"""What is kept of a result under a key: all but whose it was."""

from __future__ import annotations

import pytest

from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.policy.keys import kept


def result(size: int) -> link_pb2.Result:
    return link_pb2.Result(id=7, call_id="one", worker="sample-0/0", payload=common_pb2.Payload(data=bytes(size)))


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_repeats_get_the_result_without_the_first_ones_ids_which_keeps_its_own(size: int) -> None:
    first = result(size)
    again = link_pb2.Result.FromString(kept(first, Limits()))
    assert (again.id, again.call_id, again.worker, again.payload) == (0, "", "sample-0/0", first.payload)
    assert first == result(size)


def test_of_one_that_is_too_large_repeats_are_told_its_size_and_its_own_caller_gets_it() -> None:
    most, limit = Limits().kept_result
    first = result(most + 1)
    again = link_pb2.Result.FromString(kept(first, Limits()))
    assert (again.error.reason, again.error.details["limit"]) == ("PAYLOAD_TOO_LARGE", limit)
    assert first == result(most + 1)
