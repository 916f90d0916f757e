"""Writes log lines in a thread, so that nobody waits for whoever reads them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque

MAX_BYTES = 4 << 20  # of lines that wait; 20,000 requests
RETRY_SECONDS = 0.05  # between attempts at a descriptor that does not block
GATHER_SECONDS = 0.02  # lines of this time are written at once: waking a thread takes the GIL


class LogWriter(logging.Handler):
    """Formats a record at once, and writes the line in a thread.

    Lines that find no room are dropped and counted. A pipe that nobody reads is full after 64 kB:
    a handler that writes by itself would stop the service.

    Args:
        descriptor: the file descriptor to write to.

    Attributes:
        dropped: number of lines that were not written.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._reported = 0
        """The dropped lines that were reported in the log."""
        self._is_writing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues the line of a record."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001 - the service must not fail at a line
            self.dropped += 1
            return
        with self._changed:
            if self._bytes + len(line) > MAX_BYTES:
                self.dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            if len(self._lines) == 1:
                self._changed.notify_all()

    def flush(self, seconds: float = 1.0) -> None:
        """Waits until all lines are written, but not for long."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (self._lines or self._is_writing) and time.monotonic() < deadline:
                self._changed.wait(RETRY_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                while not self._lines:
                    self._changed.wait()
                self._is_writing = True
            time.sleep(GATHER_SECONDS)
            with self._changed:
                lines = list(self._lines)
                self._lines.clear()
                self._bytes = 0
            self._write(b"".join(lines), len(lines))
            if self.dropped > self._reported:
                self._report_drops()

    def _report_drops(self) -> None:
        count = self.dropped - self._reported
        self._reported = self.dropped
        message = f"{count} log lines were dropped: standard error is not read fast enough"
        self.handle(logging.LogRecord(__name__, logging.WARNING, "", 0, message, None, None))

    def _write(self, data: bytes, lines: int) -> None:
        """Writes all bytes, however long that takes."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                time.sleep(RETRY_SECONDS)
            except OSError:  # the reader has left
                self.dropped += lines
                self._reported = self.dropped  # telling it fails as well, for ever
                return
