"""An engine that closes while a worker starts leaves nothing open."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from support.fakes import CONFIG
from t5engine.pool.process import WorkerProcess


def open_files() -> int:
    """Returns how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("turns", range(8))
def test_a_start_that_is_cancelled_leaves_nothing_open(turns: int) -> None:
    """Wherever the start is, its sockets and pipes are closed."""

    async def start_and_cancel() -> None:
        task = asyncio.create_task(WorkerProcess.start(CONFIG))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            process = await task
            process.kill()
            await process.close()

    before = open_files()
    asyncio.run(start_and_cancel())
    assert open_files() == before
