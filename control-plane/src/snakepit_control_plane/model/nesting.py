"""A call's place among the calls that tools make: who is around it, and how deep it is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakepit_control_plane.model.call import Call


class Nest:
    """One link of a chain. `call` is None for a call to a client's tool, which takes no slot; `turn`: the call, of the same session,
    within whose turn this one runs (its call_id; empty: it has to wait for its turn like any other); `by_client`: a client's own call,
    out of one of its tools."""

    __slots__ = ("by_client", "call", "children", "depth", "parent", "turn")

    def __init__(self, parent: Nest | None = None, call: Call | None = None) -> None:
        self.parent = parent
        self.call = call
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.turn = ""
        self.by_client = False
        # What was called from within and has not ended, and how to give it up.
        self.children: dict[Nest, Callable[[], None]] = {}

    def twin(self, call: Call) -> Nest:
        """The place of a call that runs for this one, and may outlive it."""
        nest = Nest(self.parent, call)
        nest.turn, nest.by_client = self.turn, self.by_client
        return nest

    def around(self) -> Iterator[Call]:
        """The calls to workers that this one is nested in, the nearest first."""
        at = self.parent
        while at is not None:
            if at.call is not None:
                yield at.call
            at = at.parent

    def session(self) -> tuple[str, str, str]:
        """Pool and id of the session that this call is made in, its own or the nearest around it; and who sent that call."""
        calls = (self.call, *self.around()) if self.call is not None else self.around()
        found = next((each for each in calls if each.request.session_id), None)
        return ("", "", "") if found is None else (found.pool_name, found.request.session_id, found.request.who.sender)

    def holder(self, pool: str, session_id: str) -> str:
        """The call_id of the nearest call around that runs in that session; empty: none does."""
        return next((each.call_id for each in self.around() if each.request.session_id == session_id and each.pool_name == pool), "")

    def keep(self, give_up: Callable[[], None]) -> None:
        """`give_up` it when the call around it ends."""
        if self.parent is not None:
            self.parent.children[self] = give_up

    def end(self) -> None:
        """The call has ended: nobody waits for what it called."""
        if self.parent is not None:
            self.parent.children.pop(self, None)
        self.abandon_children()

    def abandon_children(self) -> None:
        """Its tool does not run any more: give up what that has called."""
        while self.children:
            _, give_up = self.children.popitem()
            give_up()


def nest_of(call: Call) -> Nest:
    """Of a call whose tool begins to call others."""
    if call.nest is None:
        call.nest = Nest(call=call)
    return call.nest
