"""When each link is given its next token: well before the last one expires, and again for as long as its replica doesn't take it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from snakepit._retry import Backoff
from snakepit._wire import LinkClosed
from snakepit._wire.token import Token
from snakepit.client.peer import Peer
from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2

SHARE = 0.9
SECONDS = 5.0
"""A link's next token is sent when so much of the last one's time has passed, and never more often than this."""

AGAIN = Backoff(SECONDS, 60.0)
"""So much longer, with jitter, after each that was not taken: its issuer's keys can't be had for a while, say."""

log = logging.getLogger(__name__)


class Renewals:
    """Of all links of a client. Whoever replaces a token does so well before it expires; the file is read for each."""

    def __init__(self, token: Token, random: Callable[[], float] = random.random) -> None:
        self._token, self._random = token, random
        self._timers: dict[Peer, asyncio.TimerHandle] = {}
        self._sent: dict[Peer, int] = {}

    def taken(self, peer: Peer, seconds: float) -> None:
        """The replica says that the token which it has is good for so long."""
        self._sent.pop(peer, None)
        self._later(peer, max(SECONDS, seconds * SHARE))

    def forget(self, peer: Peer) -> None:
        """Its link has closed."""
        self._sent.pop(peer, None)
        if (timer := self._timers.pop(peer, None)) is not None:
            timer.cancel()

    def _later(self, peer: Peer, seconds: float) -> None:
        if (timer := self._timers.pop(peer, None)) is not None:
            timer.cancel()
        self._timers[peer] = asyncio.get_running_loop().call_later(seconds, self._send, peer)

    def _send(self, peer: Peer) -> None:
        """It is sent again, unless the replica says that it has taken it."""
        sent = self._sent[peer] = self._sent.get(peer, 0) + 1
        if sent == 2:
            log.warning("control-plane replica %s has not taken this link's next token: it is sent again", peer.replica.address)
        self._later(peer, SECONDS + AGAIN.jittered(sent, self._random))
        try:
            if token := self._token.read():
                peer.link.send(link_pb2.Frame(credentials=link_pb2.Credentials(token=token)))
        except SnakepitError as error:
            log.warning("%s", error)
        except LinkClosed:
            self.forget(peer)
