"""The framing of the local channels."""

import mmap
import os
import random
import socket
from pathlib import Path

import pytest

from snakepit.local import sockets
from snakepit.local.frames import INLINE_BYTES, Begin, CallFrame, Done, FromWorker, KeeperHello, Payload


def call(number: int, size: int = 10) -> CallFrame:
    return CallFrame(id=number, call_id=f"c{number}", tool="echo", arguments=Payload(b"x" * size))


def test_a_control_frame_arrives_with_its_descriptors() -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs, Path(os.devnull).open() as descriptor:
        hello = KeeperHello(protocol=1, pid=2, version="3", python="4")
        sockets.send_control(ours, hello, [descriptor.fileno()])
        packet = sockets.recv_packet(theirs)
        assert packet is not None
        assert sockets.decode_from_keeper(packet.data) == hello
        (received,) = packet.descriptors
        assert not os.get_inheritable(received)
        os.close(received)


def test_the_end_of_a_channel_is_none() -> None:
    ours, theirs = sockets.packet_pair()
    ours.close()
    with theirs:
        assert sockets.recv_packet(theirs) is None
        assert sockets.recall_call(theirs) is None


@pytest.mark.parametrize("size", [0, INLINE_BYTES - 100, INLINE_BYTES, 3_000_000], ids=["empty", "inline", "memfd", "large"])
def test_a_call_of_any_size_arrives_whole(size: int) -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs:
        assert sockets.send_call(ours, call(1, size))
        assert sockets.recv_call(theirs) == call(1, size)


def test_a_full_inbox_says_so_and_every_call_in_it_can_be_recalled_in_order() -> None:
    ours, theirs = sockets.packet_pair()
    with ours, theirs:
        sent = 0
        while sockets.send_call(ours, call(sent, 100_000 if sent % 10 == 0 else 10)):
            sent += 1
        assert sent > 100
        recalled = [found.id for _ in range(sent) if (found := sockets.recall_call(theirs))]
        assert recalled == list(range(sent))
        assert sockets.recall_call(theirs) is None


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
        sockets.decode_from_agent(b"\x01")
    with pytest.raises(sockets.FramingError, match="limit"):
        sockets.worker_frames().feed(b"\xff\xff\xff\xff")


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
        before = len(list(Path("/proc/self/fd").iterdir()))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sockets.send_packet(ours, b"x" * (sockets.MAX_PACKET + 1), [descriptor.fileno()])
        with pytest.raises(sockets.FramingError, match="larger"):
            sockets.recv_packet(theirs)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
