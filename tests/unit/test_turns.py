"""The order of the queue."""

from __future__ import annotations

import asyncio

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generate
from t5engine.pool.job import Job
from t5engine.pool.turns import TurnQueue

GREEDY = GenerationConfig(max_tokens=8)


def jobs(names: str) -> list[Job]:
    """Jobs named "a1x" and so on: client, request, and what tells them apart."""
    loop = asyncio.new_event_loop()
    loop.close()
    return [
        Job(Generate(0, GREEDY, text=name), asyncio.Future(loop=loop), turn=(name[0], name[:2]))
        for name in names.split()
    ]


def texts(queue: TurnQueue) -> str:
    """The texts of the jobs in the order of their turns."""
    return " ".join(str(getattr(job.message, "text", "")) for job in queue)


def filled(names: str) -> tuple[TurnQueue, dict[str, Job]]:
    queue = TurnQueue()
    by_name = dict(zip(names.split(), jobs(names), strict=True))
    for job in by_name.values():
        queue.append(job)
    return queue, by_name


def test_clients_take_turns() -> None:
    """Clients take turns, then the requests of a client; the jobs of a request are in order."""
    queue, _ = filled("a1x a1y a1z a2x b1x b1y c1x")
    assert texts(queue) == "a1x b1x c1x a2x b1y a1y a1z"
    assert len(queue) == 7


def test_whose_turn_it_was_comes_last() -> None:
    """Taking a job moves its client behind the others, and its request behind the client's."""
    queue, by_name = filled("a1x a1y a2x b1x b1y")
    for expected in ("a1x", "b1x", "a2x", "b1y", "a1y"):
        assert next(iter(queue)) is by_name[expected]
        queue.take(by_name[expected])
    assert len(queue) == 0


def test_retries_come_first() -> None:
    """A job that is tried again waits for nobody."""
    queue, by_name = filled("a1x a1y b1x")
    queue.take(by_name["a1x"])
    queue.append_retry(by_name["a1x"])
    assert texts(queue) == "a1x b1x a1y"
    queue.take(by_name["a1x"])
    assert texts(queue) == "b1x a1y"


def test_a_job_that_leaves() -> None:
    """Removing a job keeps the others in order, and says whether the job was there."""
    queue, by_name = filled("a1x a1y b1x")
    assert queue.remove(by_name["a1x"])
    assert not queue.remove(by_name["a1x"])
    assert texts(queue) == "a1y b1x"
    queue.clear()
    assert texts(queue) == ""
    assert len(queue) == 0


def test_time_ahead_goes_by_turns() -> None:
    """A client without jobs waits for one job of each other client; one with many, for more."""
    queue = TurnQueue()
    for job in jobs("a1x a1y a1z a2x b1x"):
        job.queue_seconds = 2.0
        queue.append(job)
    assert queue.seconds_ahead("c") == 2 * 2.0
    assert queue.seconds_ahead("b") == (2 + 1) * 2.0
    assert queue.seconds_ahead("a") == 5 * 2.0
    first = next(iter(queue))
    queue.take(first)
    assert queue.seconds_ahead("a") == 4 * 2.0
    queue.clear()
    assert queue.seconds_ahead("a") == 0.0
