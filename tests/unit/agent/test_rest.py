"""Settings, kept results, the out-of-memory counter, thread counts, and values on both wires."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snakepit._environment import InvalidSettings
from snakepit._ipc.control import thread_environment
from snakepit._ipc.frames import Attachment, CallFailure, Payload, ToolFailure
from snakepit._wire.channels import SILENT_SECONDS
from snakepit.v1 import common_pb2, link_pb2
from snakepit_agent.link.resend import KEEP_BYTES, KEEP_RESULTS, KEEP_SECONDS, ResendBuffer
from snakepit_agent.link.translate import payload_from_wire, payload_to_wire, result_to_wire
from snakepit_agent.settings import from_environment
from snakepit_agent.workers.oom import FRESH_SECONDS, OomCounter

ENOUGH = {
    "SNAKEPIT_POOL": "default/digits",
    "SNAKEPIT_CAPSULE": "digits-0",
    "SNAKEPIT_SERVER": "dns:///snakepit-control-plane.snakepit-system:7800",
    "SNAKEPIT_SPEC": '{"worker": {"adapter": "digits.tools:Digits", "processes": 2}}',
}


def test_settings_have_defaults_for_all_but_the_four_that_name_the_capsule() -> None:
    settings = from_environment(ENOUGH)
    assert (settings.pool, settings.spec.worker.processes, settings.health_port) == ("default/digits", 2, 7802)
    assert (settings.run_dir, settings.setup_timeout) == (Path("/run/snakepit"), 600.0)


def test_all_problems_of_the_environment_are_named_at_once() -> None:
    wrong = {
        "SNAKEPIT_POOL": "No Pool",
        "SNAKEPIT_SERVER": "nowhere",
        "SNAKEPIT_SPEC": "{",
        "SNAKEPIT_HEALTH_PORT": "70000",
        "SNAKEPIT_SETUP_TIMEOUT_SECONDS": "soon",
        "SNAKEPIT_POOL_GENERATION": "-1",
    }
    with pytest.raises(InvalidSettings) as raised:
        from_environment(wrong)
    named = [line.split(":")[0] for line in str(raised.value).splitlines()]
    assert sorted(named) == sorted([*wrong, "SNAKEPIT_CAPSULE"])


def result(id_: int, size: int = 10) -> link_pb2.Frame:
    return link_pb2.Frame(result=link_pb2.Result(id=id_, payload=common_pb2.Payload(data=b"x" * size)))


def test_results_are_kept_for_a_moment_and_told_again_in_order() -> None:
    outcomes = ResendBuffer()
    for id_ in (1, 2, 3):
        outcomes.remember(result(id_), float(id_))
    outcomes.expire(1.0 + KEEP_SECONDS + 0.5)
    assert list(outcomes.ids()) == [2, 3]
    assert [frame.result.id for frame in outcomes.take()] == [2, 3]
    assert list(outcomes.ids()) == []


def test_kept_results_are_bounded_in_number_and_bytes() -> None:
    outcomes = ResendBuffer()
    for id_ in range(KEEP_RESULTS + 10):
        outcomes.remember(result(id_), 0.0)
    assert len(list(outcomes.ids())) == KEEP_RESULTS
    for id_ in range(200):
        outcomes.remember(result(id_, 200_000), 0.0)
    kept = outcomes.take()
    assert len(kept) == KEEP_RESULTS
    assert sum(frame.ByteSize() for frame in kept if frame.result.HasField("payload")) <= KEEP_BYTES


def test_of_results_that_are_too_many_to_be_kept_is_kept_that_their_tools_have_run() -> None:
    outcomes = ResendBuffer()
    for id_ in range(100):
        outcomes.remember(result(id_, 200_000), float(id_) / 100)
    assert list(outcomes.ids()) == list(range(100))
    first, last = (kept := outcomes.take())[0].result, kept[-1].result
    assert (first.error.reason, first.error.started) == ("REPLICA_LOST", 3)
    assert len(last.payload.data) == 200_000
    assert list(outcomes.ids()) == []


def test_results_are_kept_until_a_silent_link_is_known_to_be_broken() -> None:
    outcomes = ResendBuffer()
    outcomes.remember(result(1), 0.0)
    outcomes.expire(SILENT_SECONDS)
    assert list(outcomes.ids()) == [1]
    outcomes.expire(KEEP_SECONDS + 0.1)
    assert list(outcomes.ids()) == []


def test_a_large_result_is_remembered_as_lost_on_the_way() -> None:
    outcomes = ResendBuffer()
    outcomes.remember(result(7, 1_000_000), 0.0)
    (kept,) = outcomes.take()
    assert (kept.result.id, kept.result.error.reason, kept.result.error.started) == (7, "REPLICA_LOST", 3)


@pytest.fixture
def counter(tmp_path: Path) -> tuple[OomCounter, Path]:
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 0\noom_kill 2\noom_group_kill 0\n")
    return OomCounter(os.open(path, os.O_RDONLY)), path


def test_each_out_of_memory_kill_explains_one_death(counter: tuple[OomCounter, Path]) -> None:
    oom, path = counter
    assert not oom.explains(0.0), "kills before the start are none of ours"
    path.write_text("oom_kill 4\n")
    assert [oom.explains(1.0) for _ in range(3)] == [True, True, False]
    oom.close()


def test_an_old_kill_explains_nothing(counter: tuple[OomCounter, Path]) -> None:
    oom, path = counter
    path.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    oom.observe(0.0)
    assert not oom.explains(FRESH_SECONDS + 0.1)
    oom.close()


def test_a_counter_that_cannot_be_read_explains_nothing(tmp_path: Path) -> None:
    oom = OomCounter(os.open(tmp_path, os.O_RDONLY))
    assert not oom.explains(0.0)
    oom.close()


def test_a_process_worker_gets_one_numeric_thread_and_a_threaded_one_its_share() -> None:
    assert thread_environment("process", 8, 8.0) == {"OMP_NUM_THREADS": "1"}
    assert thread_environment("thread", 4, 8.0) == {"OMP_NUM_THREADS": "2"}
    assert thread_environment("thread", 16, 0.5) == {"OMP_NUM_THREADS": "1"}


def test_a_payload_survives_both_wires() -> None:
    plain = Payload(b"[1]")
    rich = Payload(b"{}", "application/json", (Attachment("application/x-ndarray", b"12345678", "float64", (1, 1)),))
    assert payload_from_wire(payload_to_wire(plain)) == plain
    assert payload_from_wire(payload_to_wire(rich)) == rich


def test_a_result_frame_carries_exactly_one_outcome() -> None:
    outcomes = [Payload(b"1"), ToolFailure("ValueError", "no"), CallFailure("WORKER_LOST", "died", 2, {"how": "oom"}), None]
    kinds = [result_to_wire(1, "c", "w", "i", outcome, 0.5).result.WhichOneof("outcome") for outcome in outcomes]
    assert kinds == ["payload", "tool_error", "error", None]
