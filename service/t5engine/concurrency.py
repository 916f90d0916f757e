"""Runs a coroutine function over many items, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def map_concurrently(
    work: Callable[[int, Item], Awaitable[Answer]], items: Sequence[Item], limit: int
) -> list[Answer]:
    """Returns what the work gives for each item, in order.

    The first error cancels the other calls and is raised.

    Args:
        work: takes the index of an item and the item.
        items: the items.
        limit: the most calls at a time.
    """
    answers: dict[int, Answer] = {}
    remaining = iter(enumerate(items))

    async def run() -> None:
        for index, item in remaining:
            answers[index] = await work(index, item)

    tasks = [asyncio.create_task(run()) for _ in range(min(limit, len(items)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [answers[index] for index in range(len(items))]
