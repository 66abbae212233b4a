"""Families of metrics as Prometheus reads them in protobuf, the only form in which it takes native histograms. Pure.

It is io.prometheus.client.MetricFamily of prometheus/client_model 0.6.2 (io/prometheus/client/metrics.proto), each one after its length.
The few fields that we fill are written here by their numbers: two programs' descriptors of that file could not be in one process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from snakepit._telemetry.metrics.buckets import SCHEMA, ZERO, Native

CONTENT_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_TYPES = {"counter": 0, "gauge": 1, "unknown": 3, "histogram": 4}
"""Of MetricType."""
_SUFFIX = {"counter": "_total"}
_VALUE = {"counter": 3, "gauge": 2, "unknown": 5}


class Exemplar(NamedTuple):
    """One value that was seen, and the trace in which, by which span of it; `time` in seconds since the epoch."""

    trace_id: str
    value: float
    time: float
    span_id: str = ""


class Shape(NamedTuple):
    """One series of a histogram. `buckets`: the classic ones' bounds, each with how many values are no larger, and an exemplar if any."""

    labels: Mapping[str, str]
    total: int
    sum: float
    buckets: tuple[tuple[float, int, Exemplar | None], ...]
    native: Native


class Sample(Protocol):
    """As prometheus_client has it."""

    name: str
    labels: Mapping[str, str]
    value: float


class Family(Protocol):
    """Likewise; one of a histogram has `shapes`, too."""

    name: str
    type: str
    documentation: str

    @property
    def samples(self) -> Iterable[Sample]:
        """All series."""


def encode(families: Iterable[Family]) -> bytes:
    """The body of an answer."""
    return b"".join(_varint(len(each)) + each for each in map(_family, families))


def _family(family: Family) -> bytes:
    name = family.name + _SUFFIX.get(family.type, "")
    head = _text(1, name) + _text(2, family.documentation) + _unsigned(3, _TYPES[family.type])
    return head + b"".join(_message(4, each) for each in _metrics(family, name))


def _metrics(family: Family, name: str) -> Iterator[bytes]:
    if family.type == "histogram":
        shapes: Iterable[Shape] = getattr(family, "shapes")  # noqa: B009  # prometheus_client's own have none, and we have none of those
        yield from (_labels(each.labels) + _message(7, _histogram(each)) for each in shapes)
        return
    for sample in family.samples:
        if sample.name == name:
            yield _labels(sample.labels) + _message(_VALUE[family.type], _double(1, sample.value))


def _labels(labels: Mapping[str, str]) -> bytes:
    return b"".join(_message(1, _text(1, name) + _text(2, value)) for name, value in labels.items())


def _histogram(shape: Shape) -> bytes:
    exemplars = [each for _, _, each in shape.buckets if each is not None]
    return b"".join(
        [
            _unsigned(1, shape.total),
            _double(2, shape.sum),
            *(_message(3, _bucket(*each)) for each in shape.buckets),
            _signed(5, SCHEMA),
            _double(6, ZERO),
            _unsigned(7, shape.native.zero),
            *(_message(12, _signed(1, offset) + _unsigned(2, length)) for offset, length in _spans(shape.native)),
            *(_signed(13, delta) for delta in _deltas(shape.native)),
            *(_message(16, _exemplar(each)) for each in exemplars),
        ]
    )


def _bucket(bound: float, count: int, exemplar: Exemplar | None) -> bytes:
    return _unsigned(1, count) + _double(2, bound) + (_message(3, _exemplar(exemplar)) if exemplar is not None else b"")


def _exemplar(exemplar: Exemplar) -> bytes:
    seconds, nanos = divmod(int(exemplar.time * 1e9), 10**9)
    when = _message(3, _unsigned(1, seconds) + _unsigned(2, nanos))
    return _labels({"trace_id": exemplar.trace_id}) + _double(2, exemplar.value) + when


def _spans(native: Native) -> list[tuple[int, int]]:
    """Runs of buckets that follow each other: how many are left out before each, the first one's key before the first; its length."""
    found: list[tuple[int, int]] = []
    end = 0
    for key, _ in native.counts:
        if found and key == end:
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((key - end, 1))
        end = key + 1
    return found


def _deltas(native: Native) -> Iterator[int]:
    before = 0
    for _, count in native.counts:
        yield count - before
        before = count


# ---- protobuf's own encoding


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _unsigned(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _signed(field: int, number: int) -> bytes:
    return _unsigned(field, number << 1 if number >= 0 else (-number << 1) - 1)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
