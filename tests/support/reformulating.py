"""Starts reformulations with a fake engine, and plays its worker."""

from __future__ import annotations

import asyncio

from support.fakes import MODEL, FakePool, answer, settle
from t5engine.pool.engine import Engine
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.results import QueryResult

PROFILE = Profile.of(MODEL, None)


def start_reformulation(
    engine: Engine, *queries: str, options: Options | None = None
) -> asyncio.Task[list[QueryResult]]:
    """Starts to reformulate queries, without waiting for the results."""
    reformulator = Reformulator(engine, PROFILE)
    return asyncio.create_task(reformulator.reformulate(queries, options or Options()))


async def reply_to_all(pool: FakePool, *texts: str) -> None:
    """Plays a worker of capacity 1 until it receives no more jobs."""
    position = 0
    await settle()
    while position < len(pool.newest.inbox):
        pool.newest.reply(answer(pool.newest.inbox[position], *texts))
        position += 1
        await settle()
