"""A relay that counts connections, between a client and a service."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

import httpx

from support.serving import Server


class Relay:
    """Passes bytes on in both directions.

    Attributes:
        url: where clients connect.
        connections: number of connections so far.
    """

    def __init__(self, server: Server) -> None:
        url = httpx.URL(server.url)
        self._address = (url.host, url.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                service = socket.create_connection(self._address)
                for pair in ((client, service), (service, client)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
