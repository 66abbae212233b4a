"""Channel and server options that both ends must agree on."""

from __future__ import annotations

from typing import Any

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
"""The default limit of one call's arguments or result, in bytes (setting `maxPayloadBytes`)."""

MAX_LARGE_PAYLOAD_BYTES = 64 * 1024 * 1024
"""The default limit of a payload that travels in pieces, through the SDK, in bytes (setting `maxLargePayloadBytes`)."""

LONGEST_BYTES = MAX_PAYLOAD_BYTES + 1024 * 1024
"""A longer message, with what a frame has beside its payload, is read nowhere: no end writes one."""

MOST_ATTACHMENTS = 10_000
"""Of one payload. Each is an object in every program that it passes through."""

UNFINISHED_SECONDS = 30.0
"""A message that has begun to come on a lane, and has more than UNFINISHED_BYTES, is whole within this time, or its lane is hung up."""

UNFINISHED_BYTES = 64 * 1024

MOST_FRAMES = 65_536
"""In one message of a link."""

HANDSHAKE_SECONDS = 10
"""Whoever connects has shaken hands within this time, with TLS or without: gRPC's own bound is two minutes."""

KEEPALIVE_SECONDS = 20
KEEPALIVE_TIMEOUT_SECONDS = 5

SILENT_SECONDS = float(KEEPALIVE_SECONDS + KEEPALIVE_TIMEOUT_SECONDS)
"""A peer that has fallen silent is noticed after this time at the latest, by the end that dialled."""

FORGET_SECONDS = 30.0
"""A replica that is away for so long will not come back for its calls: the agent forgets what it did for it."""

Options = list[tuple[str, Any]]


PARENT_HEADER = "snakepit-parent-call"
"""Metadata of a streaming call that an offered function makes: the call_id of the call that it serves."""


STREAM_WINDOW_BYTES = 256 * 1024
"""What one end may send on a stream that the other does not read. gRPC's own guess grows to megabytes."""

_BOTH: Options = [
    ("grpc.max_receive_message_length", LONGEST_BYTES),
    ("grpc.max_send_message_length", LONGEST_BYTES),
    ("grpc.http2.lookahead_bytes", STREAM_WINDOW_BYTES),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]


def client_options() -> Options:
    """For a channel to a control-plane replica. One channel is one connection: no shared subchannels, no hidden retries."""
    return [
        *_BOTH,
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
    ]


MOST_STREAMS = 2000
"""Calls and streams of one connection. A client's gRPC waits with the next one, and its caller doesn't notice."""

MOST_PENDING = 20_000
"""Requests of all connections that nobody has looked at yet. Each takes 16 KiB, and up to 16 for its headers: less than 640 MiB, of the
GiB that the chart gives a replica. Above it gRPC cancels some at random, anybody's, as it does by itself above a thousand."""


def server_options() -> Options:
    """For a control-plane replica's server; `so_reuseport` off, or two replicas on one port would share it silently."""
    return [
        *_BOTH,
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 1000 // 2),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.server.max_pending_requests", MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING),
    ]
