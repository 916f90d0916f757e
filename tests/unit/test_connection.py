"""Work that ends when its client leaves."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from t5serve.http.routes.connection import while_connected


class Client:
    """A client that sends nothing after its body until it leaves."""

    def __init__(self) -> None:
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    def request(self) -> Request:
        return Request({"type": "http"}, self.receive)


def test_the_answer_comes_back_and_nothing_stays() -> None:
    """The watcher of the connection ends with the work."""

    async def run() -> None:
        before = asyncio.all_tasks()
        assert await while_connected(Client().request(), asyncio.sleep(0, "done")) == "done"
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before

    asyncio.run(run())


def test_work_ends_when_the_client_leaves() -> None:
    """The work is cancelled; the task that waits for it is not."""

    async def run() -> None:
        client = Client()
        cancelled = False

        async def work() -> None:
            nonlocal cancelled
            client.leave()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled = True
                raise

        with pytest.raises(ClientDisconnect):
            await while_connected(client.request(), work())
        assert cancelled
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    asyncio.run(run())


def test_an_error_of_the_work_is_its_own() -> None:
    """A timeout of the work is not mistaken for a client that left."""

    async def work() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(while_connected(Client().request(), work()))


def test_the_end_of_the_service_is_no_client_that_left() -> None:
    """A cancelled request stays cancelled."""

    async def run() -> None:
        task = asyncio.create_task(
            while_connected(Client().request(), asyncio.sleep(9, "too late"))
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
