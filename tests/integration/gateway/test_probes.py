"""What the kubelet asks."""

from __future__ import annotations

import httpx

from support.eventually import eventually
from support.gateway import gateway
from support.ports import free_port


async def test_a_gateway_that_has_a_link_is_healthy_and_ready(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).text == "ok\n"

    async def ready() -> bool:
        return (await http.get("/readyz")).status_code == 200

    await eventually(ready, "it has a link")


async def test_a_gateway_without_a_control_plane_is_healthy_and_says_where_it_looked() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with gateway(address) as http:
        assert (await http.get("/healthz")).status_code == 200
        answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert address in answer.text
