"""What Linux tells of a process and those that it started."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
INTERVAL = 0.005  # seconds between two looks
IDLE = 0.05  # processors' share of an interval that is none
PATIENCE = 1.0  # seconds


def tree(pid: int, proc: Path = PROC) -> list[int]:
    """The process and its descendants that live."""
    found = [pid]
    for one in found:  # grows meanwhile
        with suppress(OSError):
            found += map(int, (proc / f"{one}/task/{one}/children").read_text().split())
    return found


def memory(pid: int, proc: Path = PROC) -> dict[str, int]:
    """Sums over the processes of the tree, in bytes.

    `peak_bytes` was resident at the peak of each (VmHWM): pages of mapped files count, as often as
    they are mapped. `private_bytes` is what is resident now and no file's (RssAnon).
    """
    total = {"peak_bytes": 0, "private_bytes": 0}
    for one in tree(pid, proc):
        with suppress(OSError):
            status = (proc / f"{one}/status").read_text()
            for name, field in (("peak_bytes", "VmHWM"), ("private_bytes", "RssAnon")):
                found = re.search(rf"{field}:\s*(\d+) kB", status)
                total[name] += 1024 * int(found[1]) if found else 0
    return total


def busy_seconds(pid: int, proc: Path = PROC) -> float:
    """Processor time of all threads of the tree that live."""
    total = 0
    for one in tree(pid, proc):
        for schedule in (proc / f"{one}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(schedule.read_text().split()[0])
    return total / 1e9


def wait_until_idle(pid: int) -> None:
    """Returns once the tree's threads sleep, or after a second.

    OpenMP's threads, and those of ONNX Runtime, spin for a while after their work (Intel's for
    200 ms): whoever came next would have to share the processors with them.
    """
    deadline = time.monotonic() + PATIENCE
    before, now = busy_seconds(pid), time.monotonic()
    while now < deadline:
        time.sleep(INTERVAL)
        after, later = busy_seconds(pid), time.monotonic()
        if after - before < IDLE * (later - now):
            return
        before, now = after, later
