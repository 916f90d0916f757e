"""Several coroutines as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

Answer = TypeVar("Answer")
Item = TypeVar("Item")


async def together(coroutines: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Their answers, in order; the first that fails ends the others, and its error is raised."""
    every = list(coroutines)
    if len(every) == 1:
        return [await every[0]]  # needs no task of its own
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in every]
    except BaseExceptionGroup as group:  # not except*: until 3.11.4 it wraps what it raises
        raise _first(group) from None
    return [task.result() for task in tasks]


async def as_told(
    work: Callable[[Callable[[Item], None]], Coroutine[Any, Any, object]],
) -> AsyncIterator[Item]:
    """What some work tells, as it tells it; its error comes after what it told before.

    Leaving the iterator ends the work.
    """
    told: asyncio.Queue[Item | None] = asyncio.Queue()
    task = asyncio.create_task(work(told.put_nowait))
    task.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (item := await told.get()) is not None:
            yield item
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
