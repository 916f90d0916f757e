"""HTTP as bytes over a bare socket, for what no client library sends."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import BinaryIO, Self

import httpx

from support.serving import Server


@dataclass(frozen=True)
class Answer:
    """A response that was read from the socket."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawConnection:
    """A connection whose requests are bytes."""

    def __init__(self, server: Server) -> None:
        url = httpx.URL(server.url)
        self.socket = socket.create_connection((url.host, url.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream: BinaryIO = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> Answer:
        """Reads one response with a Content-Length."""
        status = self._stream.readline()
        headers: dict[str, str] = {}
        while line := self._stream.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self._stream.read(int(headers.get("content-length", "0")))
        return Answer(int(status.split()[1]), headers, body)

    def rest(self) -> bytes:
        """Reads until the service closes the connection."""
        try:
            return self._stream.read()
        except ConnectionResetError:
            return b""
