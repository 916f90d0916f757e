"""What a process holds in memory, which processes it started, and whether it runs."""

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


def children(pid: int, *words: str) -> list[int]:
    """Returns the processes that a process started, by age, whose command line has the words."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
            if all(word in command for word in words):
                found.append(child)
    return sorted(found)


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
