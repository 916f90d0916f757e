"""Runs coroutines together, and turns callbacks into an iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")
Event = TypeVar("Event")


async def gather(coroutines: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Runs coroutines together and returns their results in order.

    The first error cancels the other coroutines and is raised.
    """
    pending = list(coroutines)
    if len(pending) == 1:
        return [await pending[0]]  # without a task
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in pending]
    except BaseExceptionGroup as group:  # not except*: before 3.11.4 it wraps the raised error
        raise _first_error(group) from None
    return [task.result() for task in tasks]


async def iterate_events(
    work: Callable[[Callable[[Event], None]], Coroutine[Any, Any, object]],
) -> AsyncIterator[Event]:
    """Yields the events that a coroutine emits, while it runs.

    An error of the coroutine is raised after the events that precede it. Closing the iterator
    cancels the coroutine.

    Args:
        work: a coroutine function; its argument is the function that emits an event.
    """
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    task = asyncio.create_task(work(events.put_nowait))
    task.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first_error(error) if isinstance(error, BaseExceptionGroup) else error
