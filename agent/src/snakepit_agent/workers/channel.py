"""One worker's inbox and outbox. It moves frames and knows which calls the worker has not read; what a frame means is decided elsewhere.

Sockets are never switched to non-blocking mode, which the worker's copies would share: every read and write says MSG_DONTWAIT.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Collection

from snakepit._ipc.held import left_behind
from snakepit._ipc.sockets import (
    DONTWAIT,
    FramingError,
    close_all,
    encode_batch,
    send_call,
    take_back_call,
    take_over,
    worker_frames,
)
from snakepit._ipc.worker import HELD, STACKS, CallFrame, FromWorker, ToWorker
from snakepit_agent.workers.stacks import Stacks

READ_BYTES = 64 * 1024
"""Well under what malloc takes from the kernel anew each time."""

CONTROL_BYTES = 64 * 1024 * 1024
"""A worker that leaves this much of its control frames unread has lost step: it is cut off."""

HANDED = 256
"""Memfds that a worker may hand over before a frame speaks of them. One that hands over more has lost step."""

_SHORT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EMSGSIZE, errno.ETOOMANYREFS))
"""What keeps a call from being written, and says nothing of the worker."""

OnFrames = Callable[["WorkerChannel", list[FromWorker]], None]
OnBroken = Callable[["WorkerChannel", str], None]
OnUnwritten = Callable[[int, str], None]

log = logging.getLogger(__name__)


class WorkerLies(Exception):
    """What it says can't be: code in its process says it in the worker's place."""


class WorkerChannel:
    """The agent's ends of one incarnation's sockets; it owns and closes them.

    `on_frames` gets what the worker says, in order. `on_broken` is told when the worker can't be talked to any more, and why; no
    reason: its ends are shut, as at its death. That proves no death, only the keeper's wait status does. `on_unwritten` is told of a
    call that could not be given to it, and why; the worker serves on.
    """

    def __init__(
        self,
        incarnation: str,
        inbox: int,
        inbox_reader: int,
        outbox: int,
        on_frames: OnFrames,
        on_broken: OnBroken,
        on_unwritten: OnUnwritten,
    ) -> None:
        self.incarnation = incarnation
        self.heard = False  # something, since the last heartbeat
        self.suspect = False
        self._inbox = socket.socket(fileno=inbox)
        self._inbox_reader = socket.socket(fileno=inbox_reader)
        self._outbox = socket.socket(fileno=outbox)
        self._buffer = worker_frames()
        self._on_frames = on_frames
        self._on_broken = on_broken
        self._on_unwritten = on_unwritten
        self._pending: deque[CallFrame] = deque()
        # Of calls in `pending` with sections, by id; and memfds of results that no frame has spoken of yet.
        self._descriptors: dict[int, int] = {}
        self._handed: dict[int, list[int]] = {}
        self._stacks: Stacks | None = None
        self._unwritten = bytearray()
        self._handed_count = 0
        self._broken = False
        self._distrusted = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._outbox.fileno(), self._on_readable)

    # ---- inbox

    def deliver(self, call: CallFrame) -> None:
        """Put a call into the inbox, or behind those that wait for room in it."""
        if self._broken:
            # Its death is about to be proven, and the call with it counted as lost or never started.
            self._forget([call])
        elif self._pending or not self._send(call):
            if not self._pending:
                self._loop.add_writer(self._inbox.fileno(), self._on_inbox_writable)
            self._pending.append(call)

    def deliver_large(self, call: CallFrame, descriptor: int) -> None:
        """A call with sections; `descriptor` holds them and belongs to this channel from now on."""
        self._descriptors[call.id] = descriptor
        self.deliver(call)

    def recall(self, ids: Collection[int] | None = None) -> list[int]:
        """Take back the calls that the worker has not read, or these of them: their ids, in order. They were never started.

        The others stay, in order.
        """
        calls = self._take_unread()
        wanted = {call.id for call in calls} if ids is None else ids
        for call in calls:
            if call.id not in wanted:
                self.deliver(call)
        return self._forget([call for call in calls if call.id in wanted])

    def recall_behind(self, held: int, slots: int) -> list[int]:
        """Of the `held` calls that the worker was given, take back those behind its slots: their ids, in order.

        A worker that had no time on the processor has read none: the first ones stay, or it would idle.
        """
        calls = self._take_unread()
        begun = held - len(calls)
        stay = max(0, slots - begun)
        for call in calls[:stay]:
            self.deliver(call)
        return self._forget(calls[stay:])

    def _take_unread(self) -> list[CallFrame]:
        calls: list[CallFrame] = []
        while (taken := take_back_call(self._inbox_reader)) is not None:
            call, descriptor = taken
            calls.append(call)
            if call.sections:
                self._descriptors[call.id] = descriptor
        return calls + self._take_pending()

    def _take_pending(self) -> list[CallFrame]:
        calls = list(self._pending)
        if calls:
            self._pending.clear()
            self._loop.remove_writer(self._inbox.fileno())
        return calls

    def _forget(self, calls: list[CallFrame]) -> list[int]:
        """These calls leave this worker: their ids."""
        for call in calls:
            if call.sections:
                os.close(self._descriptors.pop(call.id))
        return [call.id for call in calls]

    def _send(self, call: CallFrame) -> bool:
        """False: it is to wait. What can never be written is done with."""
        try:
            return self._send_large(call) if call.sections else send_call(self._inbox, call)
        except (ValueError, OverflowError) as error:
            self._pass_over(call, error)
        except OSError as error:
            if error.errno not in _SHORT:
                self._fail("the inbox can't be written", error)
                return False
            self._pass_over(call, error)
        return True

    def _pass_over(self, call: CallFrame, error: Exception) -> None:
        """Told in a turn of its own: whoever is told may change what we go through here."""
        self._forget([call])
        self._loop.call_soon(self._on_unwritten, call.id, f"the call can't be given to its worker: {error}")

    def _send_large(self, call: CallFrame) -> bool:
        sent = send_call(self._inbox, call, self._descriptors[call.id])
        if sent:
            os.close(self._descriptors.pop(call.id))
        return sent

    def _on_inbox_writable(self) -> None:
        while self._pending and not self._broken and self._send(self._pending[0]):
            self._pending.popleft()
        if not self._pending:
            self._loop.remove_writer(self._inbox.fileno())

    # ---- large results

    def take_over(self, id_: int) -> int:
        """The memfd of the next large result, or chunk, of that call, which the caller closes; -1: there is none."""
        while not (found := self._handed.get(id_)):
            handed = self._take_over()
            if handed is None:
                return -1
            self._handed.setdefault(handed[0], []).append(handed[1])
            self._handed_count += 1
            if self._handed_count > HANDED:
                self.distrust(f"it has handed over {HANDED} memfds that no frame spoke of")
                return -1
        self._handed_count -= 1
        return found.pop(0)

    def _take_over(self) -> tuple[int, int] | None:
        try:
            return take_over(self._inbox)
        except (OSError, FramingError) as error:
            self._fail("the inbox can't be read", error)
            return None

    @property
    def stacks(self) -> Stacks | None:
        """Where the worker's faulthandler writes; None before it has said so."""
        if self._stacks is None and (descriptor := self.take_over(STACKS)) >= 0:
            self._stacks = Stacks(descriptor)
        return self._stacks

    def ended(self, id_: int) -> None:
        """The call has ended: what it handed over and never spoke of is closed."""
        left = self._handed.pop(id_, ())
        self._handed_count -= len(left)
        close_all(left)

    # ---- outbox

    def control(self, frame: ToWorker) -> None:
        """Say something about running calls, together with what else there is to say in this turn of the loop."""
        if self._broken:
            return
        if not self._unwritten:
            self._loop.call_soon(self._write)
        self._unwritten += encode_batch([frame])
        if len(self._unwritten) > CONTROL_BYTES:
            self._break(f"the worker left {len(self._unwritten)} bytes of control frames unread")

    def _write(self) -> None:
        if self._outbox.fileno() < 0:
            return  # closed in the same turn
        try:
            sent = self._outbox.send(self._unwritten, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail("the outbox can't be written", error)
            return
        del self._unwritten[:sent]
        if self._unwritten:
            self._loop.add_writer(self._outbox.fileno(), self._on_outbox_writable)

    def _on_outbox_writable(self) -> None:
        self._loop.remove_writer(self._outbox.fileno())
        self._write()

    def _on_readable(self) -> None:
        try:
            if not self._read_once():
                self._loop.remove_reader(self._outbox.fileno())
                if not self._broken:
                    self._on_broken(self, "")
        except BlockingIOError:
            return

    def _read_once(self) -> bool:
        """Hand over what one read gives; False when nothing will come any more. BlockingIOError: nothing now."""
        try:
            data = self._outbox.recv(READ_BYTES, DONTWAIT)
            frames = self._buffer.feed(data)
        except BlockingIOError:
            raise
        except (OSError, FramingError) as error:
            self._fail("the outbox can't be read", error)
            return False
        if frames and not self._distrusted:
            self._hand_over(frames)
        return bool(data) and not self._distrusted

    def _hand_over(self, frames: list[FromWorker]) -> None:
        try:
            self._on_frames(self, frames)
        except WorkerLies as lie:
            self.distrust(str(lie))
        except Exception:
            log.exception("what the worker said can't be taken")
            self.distrust("it said what can't be taken")

    def drain(self) -> None:
        """The worker is dead: hand over everything that it still said."""
        with contextlib.suppress(BlockingIOError):
            while self._read_once():
                pass
        if not self._distrusted and (descriptor := self.take_over(HELD)) >= 0:
            self._hand_over(list(left_behind(descriptor)))
            os.close(descriptor)

    # ---- the end

    def distrust(self, why: str) -> None:
        """It says what no worker says: nothing more of it is heard, and it is of no more use."""
        self._distrusted = True
        self._break(why)

    def _fail(self, what: str, error: Exception) -> None:
        self._break("" if isinstance(error, ConnectionError) else f"{what}: {error}")

    def _break(self, why: str) -> None:
        if not self._broken:
            self._broken = True
            self._on_broken(self, why)

    def close(self) -> None:
        """Close the sockets. Calls that are still in the inbox must have been recalled before."""
        self._forget(self._take_pending())
        if self._stacks is not None:
            self._stacks.close()
        for descriptors in self._handed.values():
            close_all(descriptors)
        for sock in (self._outbox, self._inbox):
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
        for sock in (self._inbox, self._inbox_reader, self._outbox):
            sock.close()
