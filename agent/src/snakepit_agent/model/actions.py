"""What `lifecycle` asks for, and the settings that it goes by."""

from __future__ import annotations

from dataclasses import dataclass

from snakepit.spec import quantity_bytes
from snakepit_agent.model.recycling import NO_LIMITS, RecycleLimits
from snakepit_agent.settings import Settings


@dataclass(frozen=True)
class Start:
    """The keeper is to make a process."""

    index: int
    incarnation: str


@dataclass(frozen=True)
class Signal:
    """Send a signal to a worker; `group`: to its children too."""

    incarnation: str
    signal: int
    group: bool = True


@dataclass(frozen=True)
class Close:
    """Admit no more calls there; `keep`: but those of strict sessions that are in use there."""

    incarnation: str
    keep: bool = False


@dataclass(frozen=True)
class Stop:
    """Tell the worker that no more calls will come."""

    incarnation: str


@dataclass(frozen=True)
class Finished:
    """Every worker has ended after a drain."""


Action = Start | Signal | Close | Stop | Finished


@dataclass(frozen=True)
class Policy:
    """The pool's settings that matter here; times in seconds."""

    workers: int
    max_restarts: int = 3
    window: float = 5.0
    drain_timeout: float = 60.0
    kill_after: float = 6.0
    setup_timeout: float = 600.0
    limits: RecycleLimits = NO_LIMITS


def policy(settings: Settings) -> Policy:
    """The pool's settings as the lifecycle wants them."""
    spec = settings.spec
    return Policy(
        workers=1 if spec.worker.profile == "thread" else spec.worker.processes,
        max_restarts=spec.restart.max_restarts,
        window=spec.restart.window_seconds,
        drain_timeout=spec.drain.timeout_seconds,
        kill_after=spec.drain.kill_after_seconds,
        setup_timeout=settings.setup_timeout,
        limits=RecycleLimits(
            age=spec.recycle.max_age_seconds or 0.0,
            calls=spec.recycle.max_calls or 0,
            memory=quantity_bytes(spec.recycle.max_memory or 0),
            jitter=spec.recycle.jitter_percent / 100,
        ),
    )
