"""The framing of the local channels."""

import mmap
import os
import random
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from snakepit._ipc import control, sockets
from snakepit._ipc.control import KeeperHello, MemoryMeasured, SignalWorker, StartFailed, StartWorker, WorkerStarted
from snakepit._ipc.frames import Attachment, CallFailure, Payload, ToolAnswer, ToolFailure
from snakepit._ipc.sections import sizes, skeleton, spread
from snakepit._ipc.worker import (
    INLINE_BYTES,
    Begin,
    CallFrame,
    CancelCall,
    Done,
    FromWorker,
    ProgressFrame,
    SetLimits,
    StateOperation,
    ToolCall,
)
from snakepit_worker.starting import Forked, MustSpawn, decode_reply
from support.descriptors import open_files


def call(number: int, size: int = 10) -> CallFrame:
    return CallFrame(id=number, call_id=f"c{number}", tool="echo", arguments=Payload(b"x" * size))


def test_a_control_frame_arrives_with_its_descriptors() -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs, Path(os.devnull).open() as descriptor:
        hello = KeeperHello(protocol=1, pid=2, version="3", python="4")
        control.send_control(ours, hello, [descriptor.fileno()])
        packet = sockets.recv_packet(theirs)
        assert packet is not None
        assert control.decode_from_keeper(packet.data) == hello
        (received,) = packet.descriptors
        assert not os.get_inheritable(received)
        os.close(received)


def test_the_end_of_a_channel_is_none() -> None:
    ours, theirs = sockets.packet_pair()
    ours.close()
    with theirs:
        assert sockets.recv_packet(theirs) is None
        assert sockets.take_back_call(theirs) is None


@pytest.mark.parametrize("size", [0, INLINE_BYTES - 100, INLINE_BYTES, 3_000_000], ids=["empty", "inline", "memfd", "large"])
def test_a_call_of_any_size_arrives_whole(size: int) -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs:
        assert sockets.send_call(ours, call(1, size))
        assert sockets.recv_call(theirs) == call(1, size)


def with_sections(number: int, descriptor: int, attachments: int, **fields: Any) -> tuple[CallFrame, Payload]:
    """A call whose arguments are so many attachments of a byte, and the arguments. Their bytes go into `descriptor`."""
    whole = Payload(b"{}", attachments=tuple(Attachment("application/octet-stream", bytes([n % 256])) for n in range(attachments)))
    for part in spread(whole):
        os.write(descriptor, part)
    sockets.seal(descriptor)
    return CallFrame(id=number, call_id=f"c{number}", tool="echo", arguments=skeleton(whole), sections=sizes(whole), **fields), whole


# Of about 36 bytes an attachment; 64 KiB go inline, a reader provides 128 KiB, a socket takes 208.
@pytest.mark.parametrize("attachments", [1, 2_000, 4_000, 5_500, 9_000, 30_000])
def test_the_head_of_a_call_may_have_any_size_whether_it_is_read_or_taken_back(attachments: int) -> None:
    ours, theirs = sockets.packet_pair()
    descriptor = sockets.open_memfd()
    with ours, theirs:
        before = open_files()
        call, whole = with_sections(7, descriptor, attachments)
        for _ in range(2):
            assert sockets.send_call(ours, call, descriptor)
        taken = sockets.take_back_call(theirs)
        assert taken is not None
        assert taken[0] == call
        assert sockets.send_call(ours, *taken)
        os.close(taken[1])
        assert is_whole(theirs, whole)
        assert is_whole(theirs, whole)
        assert not open_files() - before
    os.close(descriptor)


@pytest.mark.parametrize("bytes_", [100_000, 130_000, 150_000, 207_000, 212_000, 250_000, 3_000_000])
@pytest.mark.parametrize("field", ["call_id", "tool", "session_id", "traceparent", "metadata"])
def test_whatever_of_a_call_is_large_it_fits_with_sections_and_without(field: str, bytes_: int) -> None:
    fields: dict[str, Any] = {field: {"key": "x" * bytes_} if field == "metadata" else "x" * bytes_}
    plain = msgspec.structs.replace(call(1), **fields)
    ours, theirs = sockets.packet_pair()
    descriptor = sockets.open_memfd()
    with ours, theirs:
        assert sockets.send_call(ours, plain)
        assert sockets.recv_call(theirs) == plain
        head, whole = with_sections(2, descriptor, 3)
        large = msgspec.structs.replace(head, **fields)
        assert sockets.send_call(ours, large, descriptor)
        assert sockets.recv_call(theirs) == msgspec.structs.replace(large, arguments=whole, sections=())
    os.close(descriptor)


@pytest.mark.parametrize(("descriptors", "fields"), [(0, {"memfd": True}), (1, {"memfd": True, "sections": (1,)})])
def test_a_call_without_what_should_lie_beside_it_is_a_framing_error(descriptors: int, fields: dict[str, Any]) -> None:
    head = msgspec.structs.replace(call(1, 0), **fields)
    before = open_files()
    for take in (sockets.recv_call, sockets.take_back_call):
        ours, theirs = sockets.packet_pair()
        passed = [sockets.seal_memfd(msgspec.msgpack.encode(head)) for _ in range(descriptors)]
        with ours, theirs, Path(os.devnull).open() as another:
            sockets.send_packet(ours, msgspec.msgpack.encode(head), passed or [another.fileno()])
            sockets.close_all(passed)
            with pytest.raises(sockets.FramingError):
                take(theirs)
    assert not open_files() - before


def is_whole(inbox: socket.socket, arguments: Payload) -> bool:
    received = sockets.recv_call(inbox)
    return received is not None and (received.id, received.sections, received.arguments) == (7, (), arguments)


def test_a_full_inbox_says_so_and_every_call_in_it_can_be_recalled_in_order() -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs:
        sent = 0
        while sockets.send_call(ours, call(sent, 100_000 if sent % 10 == 0 else 10)):
            sent += 1
        assert sent > 100
        recalled = [found[0].id for _ in range(sent) if (found := sockets.take_back_call(theirs))]
        assert recalled == list(range(sent))
        assert sockets.take_back_call(theirs) is None


def test_nobody_waits_for_room_who_said_so_also_with_descriptors() -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs, Path(os.devnull).open() as descriptor:
        for _ in range(100_000):
            try:
                sockets.send_packet(ours, b"x" * 100, flags=socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
        with pytest.raises(BlockingIOError):
            sockets.send_packet(ours, b"x" * 100, [descriptor.fileno()], socket.MSG_DONTWAIT)
        assert not sockets.send_call(ours, call(1, INLINE_BYTES))


def test_a_batch_survives_any_cutting_of_the_stream() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    frames: list[FromWorker] = [
        Begin(n, 0.5) if rng.random() < 0.5 else Done(n, Payload(rng.randbytes(rng.randrange(2000)))) for n in range(50)
    ]
    stream, at = b"", 0
    while at < len(frames):
        step = rng.randrange(1, 6)
        stream += sockets.encode_batch(frames[at : at + step])
        at += step
    buffer = sockets.worker_frames()
    received: list[FromWorker] = []
    while stream:
        cut = rng.randrange(1, 3000)
        received += buffer.feed(stream[:cut])
        stream = stream[cut:]
    assert received == frames


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(sockets.FramingError):
        control.decode_from_agent(b"\x01")
    with pytest.raises(sockets.FramingError, match="limit"):
        sockets.worker_frames().feed(b"\xff\xff\xff\xff")


NO_TEXT = b"\x91\x94\xa4done\x01\xa2\xff\xfe"


def test_text_that_is_none_and_nesting_without_end_are_framing_errors() -> None:
    for data in (NO_TEXT, b"\x91\x92\xa4pong" + b"\x91" * 100_000, b"\x91\x91\xa4\xff\xfe\xff\xfe"):
        with pytest.raises(sockets.FramingError, match="not a frame of this channel: ") as refused:
            sockets.worker_frames().feed(len(data).to_bytes(4, "big") + data)
        assert len(str(refused.value)) < 300


def test_whatever_bytes_come_on_any_channel_they_are_a_frame_or_a_framing_error() -> None:
    """Of valid frames, with bytes changed, cut out, repeated and made longer."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    readers = (control.decode_from_keeper, control.decode_from_agent, decode_reply, read_as_a_call, read_as_said_by_a_worker, read_as_told)
    refused = 0
    for _ in range(4_000):
        data = spoilt(rng, msgspec.msgpack.encode(rng.choice(SOME_FRAMES)))
        for read in readers:
            try:
                read(data)
            except sockets.FramingError:
                refused += 1
    assert refused > 4_000


SOME_FRAMES: list[Any] = [
    KeeperHello(1, 2, "3", "4", 0.5),
    StartWorker(1, "i", "m:C", env={"a": "b"}),
    WorkerStarted(0, "incarnation", 7, "note"),
    StartFailed(0, "i", "import", "E", "message", "trace"),
    MemoryMeasured([("i", 1, 2)]),
    SignalWorker("i", 9),
    CallFrame(1, "c", "echo", Payload(b"{}", attachments=(Attachment("a/b", b"x", "<f8", (1, 2)),)), metadata={"k": "v"}),
    MustSpawn("i", "because"),
    Forked("i", 12),
    [Begin(1, 0.5), Done(1, Payload(b"1"), started_ns=1 << 60), ProgressFrame(1, 0.5, "half")],
    [Done(2, tool_error=ToolFailure("T", "m")), Done(3, failure=CallFailure("CANCELLED", "m", 1, {"a": "b"}))],
    [StateOperation(1, 2, "set", "k", Payload(b"1")), ToolCall(1, 2, "t", Payload(b"{}"))],
    [CancelCall(1, "DEADLINE"), ToolAnswer(1, Payload(b"1")), SetLimits(1, "n")],
]


def spoilt(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                del changed[at : at + rng.randrange(1, 5)]
            case 2:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                changed[at:at] = changed[:at]
            case 4:
                changed[at : at + 1] = rng.choice(
                    (b"\xff", b"\x91", b"\xdd\xff\xff\xff\xff", b"\xc1", b"\xa2\xff\xfe", b"\xcf" + b"\xff" * 8)
                )
    return bytes(changed)


def read_as_a_call(data: bytes) -> None:
    for take in (sockets.recv_call, sockets.take_back_call):
        ours, theirs = sockets.packet_pair()
        with ours, theirs, Path(os.devnull).open() as descriptor:
            sockets.send_packet(ours, data, [descriptor.fileno()])
            take(theirs)


def read_as_said_by_a_worker(data: bytes) -> None:
    sockets.worker_frames().feed(len(data).to_bytes(4, "big") + data)


def read_as_told(data: bytes) -> None:
    sockets.agent_frames().feed(len(data).to_bytes(4, "big") + data)


def test_a_sealed_memfd_keeps_its_size() -> None:
    descriptor = sockets.seal_memfd(b"large")
    try:
        for size in (0, 6):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
        assert sockets.read_memfd(descriptor)[:] == b"large"
        assert sockets.mapped(descriptor, [5]) == [b"large"]
    finally:
        os.close(descriptor)


def test_a_memfd_is_sealed_while_somebody_has_mapped_it() -> None:
    descriptor = sockets.open_memfd()
    try:
        os.write(descriptor, b"large")
        with mmap.mmap(descriptor, 5):
            sockets.seal(descriptor)
    finally:
        os.close(descriptor)


def test_what_could_shrink_while_it_is_read_is_not_mapped(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"large")
    memfd = sockets.open_memfd()
    os.write(memfd, b"large")
    with plain.open("rb") as file:
        for descriptor in (file.fileno(), memfd):
            with pytest.raises(sockets.FramingError, match="sealed"):
                sockets.mapped(descriptor, [5])
    os.close(memfd)


def test_a_packet_too_large_for_its_reader_is_an_error_and_leaks_no_descriptor() -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs, Path(os.devnull).open() as descriptor:
        before = open_files()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sockets.send_packet(ours, b"x" * (sockets.MAX_PACKET + 1), [descriptor.fileno()])
        with pytest.raises(sockets.FramingError, match="larger"):
            sockets.recv_packet(theirs)
        assert not open_files() - before
