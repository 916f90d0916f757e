"""One running worker process and the connection to it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Protocol, Self

import msgspec

from t5engine.config import WorkerConfig
from t5engine.messages import HEADER, FromWorker, ToWorker, pack, unpack_from_worker

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # between closing the connection and killing


class Process(Protocol):
    """What the engine needs of a worker process."""

    @property
    def pid(self) -> int: ...

    def send(self, message: ToWorker) -> None:
        """Queues a message; one to a worker that died is lost, and `receive` tells."""
        ...

    async def receive(self) -> FromWorker | None:
        """The next message; None when the worker is gone."""
        ...

    def kill(self) -> None:
        """Ends the worker at once."""
        ...

    async def close(self) -> str:
        """Ends the worker, gently first; says how it ended."""
        ...


class WorkerProcess:
    """A real one: `python -m t5engine.worker` at the other end of a socket pair."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._complaints = asyncio.create_task(self._pass_on_complaints())

    @classmethod
    async def start(cls, config: WorkerConfig) -> Self:
        """Starts it; it loads the model and then says that it is ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the current directory is no place for modules
                "-m",
                "t5engine.worker",
                str(theirs.fileno()),
                msgspec.json.encode(config).decode(),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                # ggml's abort would run a debugger for its backtrace, for seconds.
                env={**os.environ, **config.environment(), "GGML_NO_BACKTRACE": "1"},
            )
        reader, writer = await asyncio.open_connection(sock=ours)
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
        await self._complaints
        if code < 0:
            return f"was ended by {signal.strsignal(-code) or -code} (signal {-code})"
        return f"ended with status {code}"

    async def _pass_on_complaints(self) -> None:
        """Logs what the worker, or ggml before an abort, writes to standard error."""
        if (stream := self._process.stderr) is None:
            return
        while True:
            with suppress(ValueError):  # of a line that is longer than the stream's buffer
                line = await stream.readline()
                if not line:
                    return
                text = line.decode(errors="replace").rstrip()
                logger.warning("%s", text, extra={"worker": self.pid})
