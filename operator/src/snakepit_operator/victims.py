"""Which pods go first when there are too many. Pure; how many go is decided in `plan`."""

from __future__ import annotations

from collections.abc import Iterable

from snakepit_operator.model import Observed, PodView


def victims(pods: Iterable[PodView], count: int, observed: Observed, template: str) -> list[PodView]:
    """The `count` pods that are missed least: not serving, of an old template, idle, fewest sessions, highest ordinal."""
    return sorted(pods, key=lambda pod: _worth(pod, observed, template))[: max(0, count)]


def _worth(pod: PodView, observed: Observed, template: str) -> tuple[bool, bool, bool, int, int, str]:
    capsule = observed.capsule(pod)
    busy, sessions = (capsule.running > 0, capsule.sessions) if capsule else (False, 0)
    return observed.serving(pod), pod.template_hash == template, busy, sessions, -pod.ordinal, pod.name
