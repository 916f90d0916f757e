"""Memory and processor time of a process and its descendants, from /proc."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
INTERVAL = 0.005  # seconds between two polls
IDLE = 0.05  # busy share of an interval below which a process is idle
MAX_WAIT = 1.0  # seconds


def list_tree(pid: int, proc: Path = PROC) -> list[int]:
    """Returns the ids of a process and its living descendants."""
    pids = [pid]
    for parent in pids:  # grows while it is iterated
        with suppress(OSError):
            pids += map(int, (proc / f"{parent}/task/{parent}/children").read_text().split())
    return pids


def measure_memory(root: int, proc: Path = PROC) -> dict[str, int]:
    """Returns sums over the processes of the tree, in bytes.

    `peak_bytes` sums the peak resident size of each process (VmHWM); a page of a mapped file
    counts once per process that maps it. `private_bytes` sums the anonymous resident memory now
    (RssAnon).
    """
    total = {"peak_bytes": 0, "private_bytes": 0}
    for pid in list_tree(root, proc):
        with suppress(OSError):
            status = (proc / f"{pid}/status").read_text()
            for name, field in (("peak_bytes", "VmHWM"), ("private_bytes", "RssAnon")):
                match = re.search(rf"{field}:\s*(\d+) kB", status)
                total[name] += 1024 * int(match[1]) if match else 0
    return total


def busy_seconds(root: int, proc: Path = PROC) -> float:
    """Returns the processor time of all living threads of the tree."""
    total = 0
    for pid in list_tree(root, proc):
        for schedule in (proc / f"{pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(schedule.read_text().split()[0])
    return total / 1e9


def wait_until_idle(pid: int) -> None:
    """Returns when the tree's threads sleep, or after a second.

    The threads of OpenMP and ONNX Runtime spin for a while after their work (Intel's OpenMP for
    200 ms). The next candidate would have to share the processors with them.
    """
    deadline = time.monotonic() + MAX_WAIT
    before, now = busy_seconds(pid), time.monotonic()
    while now < deadline:
        time.sleep(INTERVAL)
        after, later = busy_seconds(pid), time.monotonic()
        if after - before < IDLE * (later - now):
            return
        before, now = after, later
