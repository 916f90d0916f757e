"""Workers that stand still, and what a service says of its jobs meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import httpx

from support.serving import Server


def wait_for(condition: Callable[[], bool]) -> None:
    """Up to 30 s; what can't be told yet is not so yet."""
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError, httpx.TransportError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.005)


def metric(server: Server, sample: str) -> int:
    """One sample's value; 0 while there is none."""
    text = httpx.get(f"{server.url}/metrics").text
    found = re.search(rf"^{re.escape(sample)} (\S+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def busy(server: Server) -> tuple[int, int]:
    """Inputs that run and that wait."""
    return metric(server, "t5serve_running"), metric(server, "t5serve_queue_depth")


@contextlib.contextmanager
def standing_still(server: Server) -> Iterator[None]:
    """Meanwhile its worker does nothing at all."""
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)
