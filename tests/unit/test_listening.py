"""The sockets that the service listens on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from t5serve.http.listening import open_sockets


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::"])
def test_answers_are_sent_at_once(host: str) -> None:
    """Connections have TCP_NODELAY: an answer of two parts does not wait for the client's ACK."""

    async def accept() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        (listener, *_) = open_sockets(host, 0, backlog=1)
        async with await asyncio.start_server(note, sock=listener):
            _, writer = await asyncio.open_connection("localhost", listener.getsockname()[1])
            found = await accepted
            writer.close()
        return found

    assert asyncio.run(accept())
