"""A running worker process and the connection to it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

import msgspec

from t5engine.config import WorkerConfig
from t5engine.frames import HEADER, pack, unpack_from_worker
from t5engine.messages import FromWorker, ToWorker

logger = logging.getLogger(__name__)

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
GRACE_SECONDS = 1.0  # from closing the connection to killing: a worker ends between two steps


class Process(Protocol):
    """The interface of a worker process, for the engine."""

    @property
    def pid(self) -> int: ...

    def send(self, message: ToWorker) -> None:
        """Queues a message. After the worker exited the message is lost: see `receive`."""
        ...

    async def receive(self) -> FromWorker | None:
        """Returns the next message; None after the worker exited."""
        ...

    def is_runnable(self) -> bool:
        """Whether a thread runs, or waits for a processor or a disk: slow, but not hung."""
        ...

    def resident_bytes(self) -> int:
        """Returns the memory of the process; 0 where that is not known."""
        ...

    def kill(self) -> None:
        """Kills the worker."""
        ...

    async def close(self) -> str:
        """Closes the connection, and kills a worker that does not exit; returns how it ended."""
        ...


class WorkerProcess:
    """Runs `python -m t5engine.worker` at the other end of a socket pair."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._stderr_logger = asyncio.create_task(self._log_stderr())

    @classmethod
    async def start(cls, config: WorkerConfig) -> Self:
        """Starts a worker, which loads the model and then sends Ready or Unloadable."""
        parent_socket, child_socket = socket.socketpair()
        _parent_sockets.add(parent_socket)
        with child_socket:
            reader, writer = await asyncio.open_connection(sock=parent_socket)
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # do not import from the current directory
                    "-m",
                    "t5engine.worker",
                    str(child_socket.fileno()),
                    msgspec.json.encode(config).decode(),
                    pass_fds=[child_socket.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    # Without this ggml's abort runs a debugger for its backtrace, which takes
                    # seconds.
                    env={**os.environ, **config.environment(), "GGML_NO_BACKTRACE": "1"},
                )
            except BaseException:  # also where the engine closes while a worker starts
                writer.close()
                raise
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToWorker) -> None:
        if not self._writer.is_closing():
            self._writer.write(pack(message))

    async def receive(self) -> FromWorker | None:
        try:
            header = await self._reader.readexactly(HEADER.size)
            return unpack_from_worker(await self._reader.readexactly(HEADER.unpack(header)[0]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def is_runnable(self) -> bool:
        return any(state in "RD" for state in _thread_states(self.pid))

    def resident_bytes(self) -> int:
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:  # the process has ended, or the system has no /proc
            return 0
        return int(pages) * PAGE_BYTES

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> str:
        self._writer.close()
        try:
            code = await asyncio.wait_for(self._process.wait(), GRACE_SECONDS)
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        await self._stderr_logger
        if code < 0:
            return f"was ended by {signal.strsignal(-code) or -code} (signal {-code})"
        return f"ended with status {code}"

    async def _log_stderr(self) -> None:
        """Logs every line of standard error, where ggml writes before it aborts."""
        if (stream := self._process.stderr) is None:
            return
        while True:
            with suppress(ValueError):  # a line longer than the stream's buffer
                line = await stream.readline()
                if not line:
                    return
                text = line.decode(errors="replace").rstrip()
                logger.warning("%s", text, extra={"worker": self.pid})


def _thread_states(pid: int) -> Iterator[str]:
    """Yields the state of each thread, as proc(5) names them: R runs, D waits for a disk."""
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # the thread has ended
            text = file.read_text(encoding="ascii", errors="replace")
            yield text.rpartition(")")[2].split()[0]  # the command may have parentheses


_parent_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_inherited_sockets() -> None:
    """Closes a forked process's copies: a worker ends when no process has the other end open."""
    for parent_socket in list(_parent_sockets):
        parent_socket.close()


os.register_at_fork(after_in_child=_close_inherited_sockets)
