"""Who reads the network between a caller and a replica reads neither calls nor results nor tickets, where there is TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

import snakepit
from snakepit._wire.trust import Trust
from support.authority import Authority
from support.control_plane import replica
from support.simulated_agent import POOL, simulated_agent
from support.tap import TAPPED, tapped

SECRET = "nobody-else-reads-this-" * 4


@pytest.mark.parametrize("secured", [True, False], ids=["TLS", "plaintext"])
async def test_who_listens_on_the_wire_reads_no_call_where_there_is_tls_and_every_one_where_there_is_none(
    secured: bool, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "own")
    files = authority.files(names=("127.0.0.1", TAPPED)) if secured else None
    ca_file = authority.ca_file if secured else None
    async with replica(tls=files) as server, tapped(server) as tap:
        port = server.address.rpartition(":")[2]
        async with simulated_agent(server.address, trust=Trust(ca_file)), snakepit.Client(f"{TAPPED}:{port}", ca_file=ca_file) as client:
            assert await client.pool(POOL).call("echo", {"x": SECRET}, timeout=10) == {"x": SECRET}
            assert {link.transport for link in server.links.links} == {"lane"}
            assert bool(tap.tickets(server)) is not secured
        assert len(tap.heard) > len(SECRET)
        assert (SECRET.encode() in tap.heard) is not secured
