"""A real keeper with real workers, driven by a small agent."""

from collections.abc import Iterator

import pytest

from snakepit_worker.testing import LocalAgent, is_alive, wait_until

SAMPLE = "support.sample:Sample"


@pytest.fixture
def agent() -> Iterator[LocalAgent]:
    """At the end no process of the test may be left."""
    with LocalAgent() as agent:
        yield agent
    wait_until(lambda: not any(is_alive(worker.pid) for worker in agent.workers))
