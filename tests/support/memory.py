"""What a process holds in memory."""

from __future__ import annotations

import os
from pathlib import Path


def private_kb(pid: int) -> int:
    """Returns the memory of a process that no file backs, in kB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in rollup if line.startswith("Private_Dirty"))
    return int(line.split()[1])


def cpu_seconds(pid: int) -> float:
    """Returns the processor seconds that a process has used, of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
