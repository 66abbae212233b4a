"""A session's memory survives its worker. `pytest examples/notes`."""

import signal

import snakepit.testing
import snakepit_worker.testing
from notes.memory import Memory


def test_a_session_remembers() -> None:
    with snakepit.testing.start(Memory) as memory:
        assert memory.call("learn", {"text": "tea and milk"}, session_id="ada") == 1
        assert memory.call("learn", {"text": "tea"}, session_id="ada") == 2
        assert memory.call("common", {"most": 1}, session_id="ada") == ["tea"]
        assert memory.call("common", session_id="bob") == []


def test_what_a_worker_knew_is_rebuilt_from_state() -> None:
    with snakepit.testing.start(Memory) as memory:
        memory.state.put("ada", "texts", 1)
        memory.state.put("ada", "text/0", "tea and tea")
        assert memory.call("common", {"most": 1}, session_id="ada") == ["tea"]


def test_a_session_goes_on_in_another_worker_when_its_own_is_killed() -> None:
    with snakepit_worker.testing.LocalAgent() as agent:
        first = agent.start("notes.memory:Memory")
        first.call("learn", {"text": "tea and tea"}, session_id="ada")
        first.signal(signal.SIGKILL)
        first.exited()
        second = agent.start("notes.memory:Memory")
        assert second.call("learn", {"text": "more tea"}, session_id="ada") == 2
        assert second.call("common", {"most": 1}, session_id="ada") == ["tea"]
