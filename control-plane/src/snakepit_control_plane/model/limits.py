"""How much of a thing one replica takes: a table of settings.

`max_tools_per_client` is SNAKEPIT_MAX_TOOLS_PER_CLIENT in the environment, and maxToolsPerClient in refusals, documents and the chart.
"""

from __future__ import annotations

from dataclasses import dataclass

from snakepit._wire.channels import MAX_LARGE_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES


@dataclass(frozen=True)
class Limits:
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    """Of the arguments, the result or a chunk of a plain gRPC call (SNAKEPIT_MAX_PAYLOAD_BYTES)."""
    max_large_payload_bytes: int = MAX_LARGE_PAYLOAD_BYTES
    """Of one that travels in pieces, through the SDK (SNAKEPIT_MAX_LARGE_PAYLOAD_BYTES)."""
    max_waiting_bytes: int = 256 * 1024 * 1024
    """Of all calls that wait in queues; half of it may be one caller's (SNAKEPIT_MAX_WAITING_BYTES)."""
    max_kept_result_bytes: int = 1024 * 1024
    """Of a result that is kept under an idempotency key (SNAKEPIT_MAX_KEPT_RESULT_BYTES)."""
    max_nesting_depth: int = 16
    """A call may be nested in so many others (SNAKEPIT_MAX_NESTING_DEPTH)."""
    max_calls_per_offering_client: int = 128
    """Calls to one client's tools that may be open (SNAKEPIT_MAX_CALLS_PER_OFFERING_CLIENT)."""
    max_tools_per_client: int = 256
    """That a client may offer (SNAKEPIT_MAX_TOOLS_PER_CLIENT)."""
    max_client_tools_per_pool: int = 10_000
    """That clients may offer for one pool and its sessions (SNAKEPIT_MAX_CLIENT_TOOLS_PER_POOL)."""

    @property
    def kept_result(self) -> tuple[int, str]:
        """Bytes of a result that can be kept, and the limit that says so: a kept result is given again in one message."""
        return min((self.max_kept_result_bytes, "maxKeptResultBytes"), (self.max_payload_bytes, "maxPayloadBytes"))


def variable(field: str) -> str:
    """The environment's name of a row."""
    return f"SNAKEPIT_{field.upper()}"
