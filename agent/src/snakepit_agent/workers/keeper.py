"""The control socket: lets one keeper in, hands over what it says, and passes on orders. It decides nothing.

The socket lies in a folder that both containers of the pod mount; whoever can open it is the author's container or a root process.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from pathlib import Path
from typing import Protocol

from snakepit._ipc.control import PROTOCOL, AgentWelcome, FromAgent, FromKeeper, KeeperHello, decode_from_keeper, send_control
from snakepit._ipc.sockets import FramingError, Packet, close_all, recv_packet

SOCKET = "control.sock"
MODE = 0o660
ORDERS = 4096
"""Orders that may wait for a keeper; one that reads none of so many is cut off."""

log = logging.getLogger(__name__)


class KeeperEvents(Protocol):
    """Whom the keeper's words go to. Descriptors become the receiver's."""

    def keeper_came(self, hello: KeeperHello, descriptors: list[int]) -> None: ...
    def keeper_said(self, frame: FromKeeper, descriptors: list[int]) -> None: ...
    def keeper_went(self) -> None: ...


class KeeperServer:
    """Listens at `run_dir`/control.sock from `start` to `stop`. `gone` is set while no keeper is there."""

    def __init__(self, run_dir: Path, events: KeeperEvents) -> None:
        self.path = run_dir / SOCKET
        self._events = events
        self._listener: socket.socket | None = None
        self._keeper: socket.socket | None = None
        self._greeted = False
        self.gone = asyncio.Event()
        self.gone.set()
        self._orders: deque[FromAgent] = deque()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Raises OSError when the folder can't be used."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self.path.unlink(missing_ok=True)
            self._listener.bind(str(self.path))
            self.path.chmod(MODE)
        except OSError as error:
            raise OSError(f"the run folder {self.path.parent} can't be used (SNAKEPIT_RUN_DIR): {error}") from error
        self._listener.listen(4)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def stop(self) -> None:
        """Close the sockets: a keeper that is still there ends its workers."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)
        self._drop()

    def dismiss(self) -> None:
        """Close the connection: the keeper ends its workers and comes anew."""
        if self._keeper is not None:
            self._lose("it was dismissed")

    def send(self, order: FromAgent) -> None:
        """Pass an order on; without a keeper it is forgotten, as there is nobody whom it could concern."""
        if self._keeper is None:
            return
        self._orders.append(order)
        if len(self._orders) == 1:
            self._write()
        elif len(self._orders) > ORDERS:
            self._lose(f"it left {ORDERS} orders unread")

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        if self._keeper is not None:
            log.warning("a second keeper connected and was refused")
            connection.close()
            return
        self._keeper = connection
        self._loop.add_reader(connection.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        while self._keeper is not None:
            try:
                packet = recv_packet(self._keeper)
                if packet is None:
                    self._lose("it closed the connection")
                else:
                    self._handle(packet)
            except BlockingIOError:
                return
            except (OSError, FramingError) as error:
                self._lose(str(error))

    def _handle(self, packet: Packet) -> None:
        try:
            frame = decode_from_keeper(packet.data)
        except FramingError:
            close_all(packet.descriptors)
            raise
        if isinstance(frame, KeeperHello):
            self._greet(frame, packet.descriptors)
        elif self._greeted:
            self._events.keeper_said(frame, packet.descriptors)
        else:
            close_all(packet.descriptors)
            raise FramingError("its first packet was no hello")

    def _greet(self, hello: KeeperHello, descriptors: list[int]) -> None:
        # The refused keeper reads the number too, and says in its own log what is wrong.
        self.send(AgentWelcome(PROTOCOL))
        if hello.protocol != PROTOCOL or self._greeted:
            close_all(descriptors)
            raise FramingError(f"it speaks protocol {hello.protocol}, this agent {PROTOCOL}: use images of the same release")
        self._greeted = True
        self.gone.clear()
        self._events.keeper_came(hello, descriptors)

    def _write(self) -> None:
        while self._orders and self._keeper is not None:
            try:
                send_control(self._keeper, self._orders[0])
            except BlockingIOError:
                self._loop.add_writer(self._keeper.fileno(), self._on_writable)
                return
            except OSError:
                # What it said before it went is still to be read; the end comes after that.
                self._orders.clear()
                return
            self._orders.popleft()

    def _on_writable(self) -> None:
        if self._keeper is not None:
            self._loop.remove_writer(self._keeper.fileno())
            self._write()

    def _lose(self, why: str) -> None:
        log.warning("the keeper is gone: %s", why)
        greeted = self._greeted
        self._drop()
        if greeted:
            self._events.keeper_went()

    def _drop(self) -> None:
        keeper, self._keeper, self._greeted = self._keeper, None, False
        self._orders.clear()
        self.gone.set()
        if keeper is not None:
            self._loop.remove_reader(keeper.fileno())
            self._loop.remove_writer(keeper.fileno())
            keeper.close()
