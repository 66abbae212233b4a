"""What the agent is told by its environment, checked once, all problems named at once; and what its links tell it of that later.

It reads variables and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from snakepit._environment import Environment, port, seconds, whole_number
from snakepit._names import parse_pool
from snakepit._wire.targets import parse_targets
from snakepit._wire.trust import OFF, Trust
from snakepit.spec import SnakePoolSpec, decode_spec
from snakepit.v1 import link_pb2

UNLIMITED = 1 << 50
"""cgroup v1 says "no limit" by a number of this size."""


@dataclass(frozen=True)
class Settings:
    """One capsule, as its operator says. Times in seconds."""

    pool: str
    """`namespace/name` of the pool (SNAKEPIT_POOL)."""
    capsule: str
    """The pod's name (SNAKEPIT_CAPSULE)."""
    server: str
    """The control plane; every address behind the name is dialled (SNAKEPIT_SERVER)."""
    spec: SnakePoolSpec
    """The pool's spec as JSON (SNAKEPIT_SPEC)."""
    spec_json: str
    """The same as the operator gave it; it goes on to the control plane as it is."""
    pool_uid: str = ""
    """The pool's uid (SNAKEPIT_POOL_UID)."""
    pool_generation: int = 0
    """Which version of the spec it is (SNAKEPIT_POOL_GENERATION)."""
    pod_uid: str = ""
    """The pod's uid (SNAKEPIT_POD_UID)."""
    node: str = ""
    """The node's name, for people: the console and `snakepit workers -o wide` show it (SNAKEPIT_NODE)."""
    run_dir: Path = Path("/run/snakepit")
    """The folder with the socket that is shared with the keeper (SNAKEPIT_RUN_DIR)."""
    token_file: Path | None = None
    """The token that says which pod this is (SNAKEPIT_TOKEN_FILE)."""
    health_port: int = 7802
    """gRPC health; 0: none (SNAKEPIT_HEALTH_PORT)."""
    metrics_port: int = 0
    """`/metrics`; 0: none (SNAKEPIT_METRICS_PORT). The chart says 7801 with `metrics.agents`."""
    setup_timeout: float = 600.0
    """Seconds; a worker whose `setup()` takes longer is killed (SNAKEPIT_SETUP_TIMEOUT_SECONDS)."""
    trust: Trust = field(default_factory=lambda: Trust(OFF))
    """Whom it takes for the control plane, as whoever calls is told it."""
    large_bytes: int = 256 * 1024 * 1024
    """Large arguments held at a time, and large results that wait for their callers (SNAKEPIT_LARGE_BYTES, by default half of the
    memory limit)."""
    max_nested_calls: int = 1024
    """Calls of its tools to other tools that may be open (SNAKEPIT_MAX_NESTED_CALLS)."""


def told(settings: Settings, told: link_pb2.PoolSettings) -> Settings:
    """The same with what the operator says of the pool now; a capsule has the `worker` that its pod was made for. Raises InvalidPool."""
    spec = msgspec.structs.replace(decode_spec(told.spec), worker=settings.spec.worker)
    return replace(settings, spec=spec, spec_json=told.spec, pool_generation=told.generation)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings in SNAKEPIT_* variables. Raises InvalidSettings."""
    read = Environment(environment)
    values = Settings(
        pool=read.required("SNAKEPIT_POOL", _pool),
        capsule=read.required("SNAKEPIT_CAPSULE", str),
        server=read.required("SNAKEPIT_SERVER", _target),
        spec=read.required("SNAKEPIT_SPEC", decode_spec),
        spec_json=environment.get("SNAKEPIT_SPEC", ""),
        pool_uid=environment.get("SNAKEPIT_POOL_UID", ""),
        pool_generation=read("SNAKEPIT_POOL_GENERATION", whole_number, 0),
        pod_uid=environment.get("SNAKEPIT_POD_UID", ""),
        node=environment.get("SNAKEPIT_NODE", ""),
        run_dir=read("SNAKEPIT_RUN_DIR", Path, Settings.run_dir),
        token_file=Path(environment["SNAKEPIT_TOKEN_FILE"]) if environment.get("SNAKEPIT_TOKEN_FILE") else None,
        trust=Trust(environment=environment),
        health_port=read("SNAKEPIT_HEALTH_PORT", port, Settings.health_port),
        metrics_port=read("SNAKEPIT_METRICS_PORT", port, Settings.metrics_port),
        setup_timeout=read("SNAKEPIT_SETUP_TIMEOUT_SECONDS", _seconds, Settings.setup_timeout),
        large_bytes=read("SNAKEPIT_LARGE_BYTES", whole_number, large_bytes(memory_limit())),
        max_nested_calls=read("SNAKEPIT_MAX_NESTED_CALLS", whole_number, Settings.max_nested_calls),
    )
    read.check()
    return values


def large_bytes(memory: int | None) -> int:
    """Half of what the agent may use; without a limit, Settings.large_bytes."""
    return Settings.large_bytes if memory is None else memory // 2


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Of this container, in bytes: cgroup v2, then v1. None: there is none, or it can't be read."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limit = int((root / name).read_text())
            return limit if limit < UNLIMITED else None
    return None


def _pool(text: str) -> str:
    namespace, name = parse_pool(text)
    return f"{namespace}/{name}"


def _target(text: str) -> str:
    parse_targets(text)
    return text


def _seconds(text: str) -> float:
    """Above 0: no worker is ready at once."""
    value = seconds(text)
    if not value:
        raise ValueError(f"{text!r} is not a number of seconds above 0")
    return value
