"""A payload has one digest, in whatever form it is at hand; different payloads have different ones."""

import numpy
from hypothesis import given
from hypothesis import strategies as st

from snakepit._ipc import frames
from snakepit._values import digests
from snakepit.client import codec
from snakepit.v1 import common_pb2


def test_a_frame_and_its_wire_message_have_the_same_digest() -> None:
    array = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
    framed = frames.Payload(b"{}", "application/json", (frames.Attachment("application/x-ndarray", array.data, "<f4", (3, 4)),))
    wire = common_pb2.Payload(content_type="application/json", data=b"{}")
    wire.attachments.add(content_type="application/x-ndarray", data=array.tobytes(), dtype="<f4", shape=[3, 4])
    assert digests.of_payload(framed) == digests.of_payload(wire)
    assert len(digests.of_payload(wire)) == 16


def test_what_the_sdk_sends_in_pieces_has_the_digest_of_what_it_would_send_whole() -> None:
    value = {"value": bytes(300_000), "more": [1, {"a": 2}]}
    empty = common_pb2.Payload()
    large = codec.fill_arguments(empty, value, "application/json")
    assert large is not None
    assert digests.of_payload(large) == digests.of_payload(codec.encode_answer(value))


@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_parts_are_told_apart_from_the_same_bytes_cut_elsewhere(one: list[bytes], other: list[bytes]) -> None:
    assert (digests.of_parts(one) == digests.of_parts(other)) == (one == other)
