"""What an agent's metrics say of the calls that it holds, and of its workers' memory."""

from __future__ import annotations

from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.seats import Seat, SeatState
from snakepit_agent.model.slots import Ledger
from snakepit_agent.telemetry import call_readings, memory_readings

POOL = "a/b"


def holding(*held: int, slots: int = 2) -> Ledger:
    """Workers that hold so many calls each."""
    ledger = Ledger()
    for number, calls in enumerate(held):
        ledger.open(str(number), slots)
        for _ in range(calls):
            ledger.admit(HeldCall(ledger.next_id(), 0, "replica", str(number), "", "tool", False), 0.0)
    return ledger


def test_calls_beyond_a_workers_slots_wait_in_its_inbox() -> None:
    found = {row.name: (labels, value) for row, labels, value in call_readings(POOL, holding(0, 1, 2, 5).workers.values())}
    assert found == {"snakepit_agent_calls": ((POOL,), 5), "snakepit_agent_inbox_depth": ((POOL,), 3)}


def test_two_processes_of_an_index_count_together_and_what_is_unknown_or_gone_does_not() -> None:
    seats = [
        Seat(0, SeatState.READY, rss_bytes=5),
        Seat(0, SeatState.DRAINING, rss_bytes=7),
        Seat(1, SeatState.STARTING),
        Seat(2, SeatState.BACKOFF, rss_bytes=9),
    ]
    assert [(labels, value) for _, labels, value in memory_readings(POOL, seats)] == [((POOL, "0"), 12)]
