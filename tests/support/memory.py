"""What a process holds in memory."""

from __future__ import annotations

from pathlib import Path


def private_kb(pid: int) -> int:
    """Returns the memory of a process that no file backs, in kB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in rollup if line.startswith("Private_Dirty"))
    return int(line.split()[1])
