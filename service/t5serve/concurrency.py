"""Several coroutines as one, and callbacks as an iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")
Event = TypeVar("Event")


async def gather(coroutines: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Runs coroutines together and returns their results in order.

    The first that fails cancels the others, and its error is raised.
    """
    pending = list(coroutines)
    if len(pending) == 1:
        return [await pending[0]]  # needs no task of its own
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in pending]
    except BaseExceptionGroup as group:  # not except*: until 3.11.4 it wraps what it raises
        raise _first(group) from None
    return [task.result() for task in tasks]


async def iterate_events(
    work: Callable[[Callable[[Event], None]], Coroutine[Any, Any, object]],
) -> AsyncIterator[Event]:
    """Yields the events that some work emits, while it runs.

    An error of the work is raised after the events that came before it. Leaving the iterator
    cancels the work.

    Args:
        work: called with the function that emits an event.
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


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
