"""Ports of tests: nobody else is given one."""

from __future__ import annotations

import itertools
import socket

import pytest

from support import ports


@pytest.mark.parametrize("count", [1, 3, 4])
def test_each_process_of_tests_has_ports_of_its_own_and_all_of_them_have_all(count: int) -> None:
    shares = [ports.own({"PYTEST_XDIST_WORKER": f"gw{index}", "PYTEST_XDIST_WORKER_COUNT": str(count)}) for index in range(count)]
    assert sorted(itertools.chain(*shares)) == list(ports.PORTS)
    assert all(len(share) > len(ports.PORTS) / count * 0.9 for share in shares)


def test_outside_xdist_a_process_has_all() -> None:
    assert ports.own({}) == list(ports.PORTS)


def test_a_port_is_given_again_only_when_all_have_been(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_ahead", list(range(20099, 19999, -1)))
    alone, pair, other = ports.free_port(), ports.free_port(1), ports.free_port(1)
    given = [alone, pair, pair + 1, other, other + 1, ports.free_port()]
    assert len(set(given)) == 6
    assert not set(given) & set(ports._ahead)  # noqa: SLF001  # What is left of them.


def test_what_lies_above_is_free_and_nobody_elses_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        above = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_ahead", [15001, above, 15000, above - 1, 31999])
        assert ports.free_port(1) == 15000, "above 31999 is nobody, above the second one somebody has taken the next"
    assert ports.free_port(ports.EVERY) in ports.own({})
