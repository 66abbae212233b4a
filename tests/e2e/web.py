"""Callers by HTTP, in a pod as those of load.py. They send again what has not begun, and nothing else.

Usage: web.py SERVER POOL CONCURRENCY SECONDS_PER_CALL
"""

import asyncio
import http.client
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import load

import snakepit

GATEWAY = "snakepit-gateway.snakepit-system"
PORT = 7880
MOUNTED = Path("/var/run/secrets/snakepit")


def connection() -> http.client.HTTPSConnection:
    """To the gateway's Service, whose certificate is of the authority that this namespace is told."""
    context = ssl.create_default_context(cafile=str(MOUNTED / "ca.crt"))
    return http.client.HTTPSConnection(GATEWAY, PORT, timeout=load.CALL_SECONDS, context=context)


def asked(method: str, path: str, body: object = None, token: str = "", **headers: str) -> dict[str, Any]:
    """What is answered."""
    headers |= {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    with_it = connection()
    with_it.request(method, path, None if body is None else json.dumps(body), headers)
    answer = with_it.getresponse()
    return {
        "status": answer.status,
        "headers": {name.lower(): value for name, value in answer.getheaders()},
        "body": answer.read().decode(),
    }


class Web(load.Caller):
    """It keeps its connection for as long as the gateway does."""

    def __init__(self, account: load.Account, pool: snakepit.Pool, seconds: float, session: str) -> None:
        super().__init__(account, pool, seconds, "")
        self._path, self._body = f"/v1/pools/{pool.name}/tools/work", json.dumps({"seconds": seconds})
        self._connection = connection()

    async def call(self) -> None:
        await self._account.one(lambda: asyncio.to_thread(self._post))

    def _post(self) -> None:
        until = time.monotonic() + load.CALL_SECONDS
        while time.monotonic() < until:
            if (again := self._tried()) is None:
                return
            load.say("again", why=again)
            time.sleep(load.REFUSED_SECONDS)
        raise snakepit.ServerUnavailable("it never began")

    def _tried(self) -> str | None:
        """None: it went well; else why it hasn't begun. Raises SnakepitError where it may have."""
        try:
            if self._connection.sock is None:
                self._connection.connect()
        except OSError as error:
            return repr(error)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {(MOUNTED / 'token').read_text().strip()}"}
        try:
            self._connection.request("POST", self._path, self._body, headers)
            answer = self._connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise snakepit.ServerUnavailable(f"no answer: {error!r}", started=snakepit.Started.MAYBE) from error
        if answer.status == 200:
            return None
        if json.loads(text)["started"] == "no":
            return text
        raise snakepit.ServerUnavailable(text, started=snakepit.Started.MAYBE)


if __name__ == "__main__":
    asyncio.run(load.main(snakepit.Client(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), "", (Web,)))
