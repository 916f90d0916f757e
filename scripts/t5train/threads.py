"""Adapts the number of threads to the other load on the machine.

Two threads of which another process delays one are slower than a single thread.
"""

from __future__ import annotations

import os

import torch


def count_free(load: float, used: int, cores: int) -> int:
    """Returns how many threads to use.

    Args:
        load: The load average, which includes the threads of this process.
        used: Threads that this process uses now.
        cores: Cores of the machine.
    """
    other_load = max(0.0, load - used)
    return max(1, min(cores, round(cores - other_load)))


def adapt(threads: int) -> None:
    """Sets torch's threads: a fixed number, or with 0 what the last minute's load leaves free."""
    used = torch.get_num_threads()
    count = threads or count_free(os.getloadavg()[0], used, len(os.sched_getaffinity(0)))
    if count != used:
        torch.set_num_threads(count)
