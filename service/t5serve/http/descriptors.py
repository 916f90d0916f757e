"""Divides the file descriptors between connections and everything else."""

from __future__ import annotations

import resource
from typing import NamedTuple

MAX_BACKLOG = 256  # connections that asyncio accepts at once
FILES = 64  # standard streams, listening sockets, the event loop, files that are read
FILES_PER_WORKER = 16  # a worker needs eight while it starts


class DescriptorPlan(NamedTuple):
    """The number of descriptors that connections may use.

    Attributes:
        backlog: connections that wait in the kernel, and that are accepted at once.
        max_connections: the most open connections.
    """

    backlog: int
    max_connections: int


def plan_descriptors(max_connections: int, workers: int) -> DescriptorPlan:
    """Raises the soft limit if necessary, and limits the connections to fit into it."""
    spare = FILES + FILES_PER_WORKER * workers + 3 * MAX_BACKLOG
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max_connections + spare
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return fit(max_connections, workers, needed if soft == resource.RLIM_INFINITY else soft)


def fit(max_connections: int, workers: int, limit: int) -> DescriptorPlan:
    """Limits the connections to fit into a limit on descriptors.

    Each turn of the event loop accepts up to `backlog` connections, and a refused connection stays
    open for some turns. So descriptors for three backlogs are reserved.
    """
    backlog = max(1, min(MAX_BACKLOG, limit // 8))
    room = limit - FILES - FILES_PER_WORKER * workers - 3 * backlog
    return DescriptorPlan(backlog, max(1, min(max_connections, room)))
