"""How many threads are worth having beside other work.

Two threads of which one is kept waiting by another process are slower than one alone.
"""

from __future__ import annotations

import os

import torch


def free(load: float, own: int, cores: int) -> int:
    """Threads for a machine of so many cores with a load that includes one's own threads."""
    others = max(0.0, load - own)
    return max(1, min(cores, round(cores - others)))


def adapt(threads: int) -> None:
    """Uses a fixed number of threads, or with 0 what the last minute's load leaves free."""
    if threads:
        wanted = threads
    else:
        cores = len(os.sched_getaffinity(0))
        wanted = free(os.getloadavg()[0], torch.get_num_threads(), cores)
    if wanted != torch.get_num_threads():
        torch.set_num_threads(wanted)
