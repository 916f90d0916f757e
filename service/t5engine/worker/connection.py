"""The worker's end of the connection to the service."""

from __future__ import annotations

import select
import socket

from t5engine.frames import HEADER, pack
from t5engine.messages import FromWorker


class Connection:
    """The worker's end of the socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._poll = select.poll()  # select() ends at file descriptor 1023
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """Returns the file descriptor."""
        return self._socket.fileno()

    def has_message(self, timeout: float = 0.0) -> bool:
        """Whether a message can be read now, or within `timeout` seconds."""
        return bool(self._poll.poll(1000 * timeout))

    def is_silent(self, seconds: float) -> bool:
        """Whether no message arrives for so long."""
        return not self._poll.poll(1000 * seconds)

    def receive(self) -> bytes | None:
        """Waits for the next frame. Returns its body, or None when the service has gone."""
        header = self._read(HEADER.size)
        return None if header is None else self._read(HEADER.unpack(header)[0])

    def send(self, message: FromWorker) -> None:
        """Sends a message to the service."""
        self._socket.sendall(pack(message))

    def _read(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                return None
            data += part
        return bytes(data)
