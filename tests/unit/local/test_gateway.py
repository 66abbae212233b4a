"""Where the gateway of `snakepit dev` listens, by what was asked for and by what is free."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from snakepit.errors import InvalidArguments, ServerUnavailable
from snakepit_local import gateway


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The usual address, which somebody has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setattr(gateway, "ADDRESS", address)
        yield address


def test_a_usual_address_that_is_taken_keeps_nobody_from_starting(taken: str) -> None:
    door = gateway.open_door(None)
    assert door.listener is not None
    with contextlib.closing(door.listener):
        assert door.url.startswith("http://127.0.0.1:")
        assert not door.url.endswith(taken)
        assert f"port {taken.rpartition(':')[2]} is taken" in door.remark
        assert "--gateway" in door.remark


def test_an_address_that_was_asked_for_is_that_or_nothing(taken: str) -> None:
    with pytest.raises(ServerUnavailable, match="--gateway"):
        gateway.open_door(taken)


def test_without_its_distribution_dev_goes_on_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "PACKAGE", "no_such_gateway")
    door = gateway.open_door(None)
    assert door.url == ""
    assert "make wheels" in door.remark
    with pytest.raises(InvalidArguments, match="isn't installed"):
        gateway.open_door("127.0.0.1:7880")
    assert gateway.open_door("off") == gateway.Door()


@pytest.mark.parametrize(
    ("address", "host"), [("0.0.0.0:0", "localhost"), ("[::]:0", "localhost"), ("[::1]:0", "[::1]"), ("localhost:0", "127.0.0.1")]
)
def test_its_url_is_one_that_this_machine_can_open(address: str, host: str) -> None:
    door = gateway.open_door(address)
    assert door.listener is not None
    with contextlib.closing(door.listener):
        assert door.url == f"http://{host}:{door.listener.getsockname()[1]}"
