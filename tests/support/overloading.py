"""Workers that stand still, and what a service says of its jobs meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping

import httpx

from support.serving import NO_TLS, Server


def wait_for(condition: Callable[[], bool]) -> None:
    """Up to 30 s; what can't be told yet is not so yet."""
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError, httpx.TransportError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.005)


def metric(server: Server, sample: str, headers: Mapping[str, str] | None = None) -> int:
    """A metric's value, summed over models, or that of a sample with labels; 0: there is none."""
    text = httpx.get(f"{server.url}/metrics", headers=headers, verify=NO_TLS).text
    labels = "" if "{" in sample else r"(?:\{[^}]*\})?"
    found = re.findall(rf"^{re.escape(sample)}{labels} (\S+)", text, re.MULTILINE)
    return int(sum(map(float, found)))


def busy(server: Server, headers: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Inputs that run and that wait."""
    names = ("t5serve_running", "t5serve_queue_depth")
    running, waiting = (metric(server, name, headers) for name in names)
    return running, waiting


@contextlib.contextmanager
def standing_still(server: Server) -> Iterator[None]:
    """Meanwhile its worker does nothing at all."""
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)
