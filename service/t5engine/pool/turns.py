"""The queue: clients take turns, so that one with many jobs does not starve the others."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from contextvars import ContextVar

from t5engine.pool.job import Job

current_turn: ContextVar[tuple[Hashable, ...]] = ContextVar("current_turn", default=())
"""Who takes turns with the jobs of this asyncio task: (client, request)."""


class TurnQueue:
    """Jobs that wait. Clients take turns, and so do the requests of each client.

    The jobs of a request keep their order. Retries come before all other jobs.
    """

    def __init__(self) -> None:
        self._retries: deque[Job] = deque()
        self._clients: OrderedDict[Hashable, OrderedDict[Hashable, deque[Job]]] = OrderedDict()
        self._lengths: Counter[Hashable] = Counter()
        """Number of queued jobs by client."""
        self._seconds = 0.0
        """Sum of the jobs' `queue_seconds`."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Job]:
        """Yields the jobs in the order of their turns. The queue must not change meanwhile."""
        yield from self._retries
        yield from _take_turns(
            _take_turns(map(iter, requests.values())) for requests in self._clients.values()
        )

    def seconds_ahead(self, client: Hashable) -> float:
        """Estimates the seconds of the jobs that come before another job of a client."""
        if not self._length:
            return 0.0
        turns = self._lengths[client] + 1  # each client has as many turns before the job ends
        ahead = sum(min(length, turns) for length in self._lengths.values())
        return self._seconds * min(1.0, (ahead + len(self._retries)) / self._length)

    def append(self, job: Job) -> None:
        """Adds a job behind the other jobs of its request."""
        client, request = _turn(job)
        self._lengths[client] += 1
        self._seconds += job.queue_seconds
        requests = self._clients.setdefault(client, OrderedDict())
        requests.setdefault(request, deque()).append(job)
        self._length += 1

    def append_retry(self, job: Job) -> None:
        """Adds a job that comes before all others."""
        self._retries.appendleft(job)
        self._seconds += job.queue_seconds
        self._length += 1

    def take(self, job: Job) -> None:
        """Removes a job whose turn it was. Its client and request then have the last turn."""
        client, request = _turn(job)
        if self.remove(job) and client in self._clients:
            self._clients.move_to_end(client)
            if request in self._clients[client]:
                self._clients[client].move_to_end(request)

    def remove(self, job: Job) -> bool:
        """Removes a job.

        Returns:
            Whether the job was in the queue.
        """
        if job in self._retries:
            self._retries.remove(job)
        else:
            client, request = _turn(job)
            requests = self._clients.get(client, OrderedDict())
            if job not in requests.get(request, ()):
                return False
            requests[request].remove(job)
            if not requests[request]:
                del requests[request]
            if not requests:
                del self._clients[client]
            self._lengths[client] -= 1
            if not self._lengths[client]:
                del self._lengths[client]
        self._length -= 1
        self._seconds = self._seconds - job.queue_seconds if self._length else 0.0
        return True

    def clear(self) -> None:
        """Removes all jobs."""
        self._retries.clear()
        self._clients.clear()
        self._lengths.clear()
        self._seconds = 0.0
        self._length = 0


def _turn(job: Job) -> tuple[Hashable, Hashable]:
    client, request = (*job.turn, None, None)[:2]
    return client, request


def _take_turns(sources: Iterable[Iterator[Job]]) -> Iterator[Job]:
    """Yields a job of each source in turn, until all are exhausted."""
    waiting = deque(sources)
    while waiting:
        source = waiting.popleft()
        job = next(source, None)
        if job is not None:
            yield job
            waiting.append(source)
