"""Requests' heads as they come off a connection: one that doesn't end is cut off before it fills the memory."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 512 * 1024
"""Of what has come before the headers are complete; who sends less and too much is told so by `bounds`."""


class Protocol(HttpToolsProtocol):
    """uvicorn's, which collects whatever comes."""

    _came: int | None = 0
    """None: the headers are complete."""

    def data_received(self, data: bytes) -> None:
        if self._came is not None:
            self._came += len(data)
            if self._came > MOST_BYTES:
                self.send_400_response("The headers are too large.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._came = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._came = None
        super().on_headers_complete()
