"""Reads how much memory this process can still take."""

from __future__ import annotations

import re
from pathlib import Path

from t5engine.cgroup import CGROUP, MEMBERSHIP, limiting_groups

MEMINFO = Path("/proc/meminfo")


def available_bytes(
    meminfo: Path = MEMINFO, cgroup: Path = CGROUP, membership: Path = MEMBERSHIP
) -> int | None:
    """Returns the bytes that are available without swapping; None where that is not known.

    The tightest limit counts: what the machine has left, or a cgroup of the process.
    """
    rooms = [_room(folder) for folder in limiting_groups("memory", cgroup, membership)]
    try:
        match = re.search(r"(?m)^MemAvailable:\s*(\d+)", meminfo.read_text())
    except OSError:
        match = None
    if match is not None:
        rooms.append(1024 * int(match[1]))
    return min((room for room in rooms if room is not None), default=None)


def _room(folder: Path) -> int | None:
    """Returns the bytes that a group's limit leaves; None if it has no limit.

    Pages of files that nobody has used lately are given back before a limit is reached, so they
    count as free.
    """
    try:
        if (folder / "memory.max").is_file():
            names = ("memory.max", "memory.current")
        else:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = (int((folder / name).read_text()) for name in names)
        stat = (folder / "memory.stat").read_text()
    except (OSError, ValueError):  # no such file, or "max"
        return None
    # Version 1 has a figure of the group alone, and a total with the groups below it.
    cache = max(map(int, re.findall(r"(?m)^(?:total_)?inactive_file (\d+)", stat)), default=0)
    return max(0, limit - used + cache)
