"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

Resource = TypeVar("Resource")
Answer = TypeVar("Answer")
OpenResource = Callable[[], AbstractAsyncContextManager[Resource]]


class Background(Generic[Resource]):
    """Keeps an asynchronous resource open in a thread, and runs coroutines with it there.

    Any thread and any event loop may submit work. A forked process opens a resource of its own
    when it first submits work: threads do not survive a fork. The resource is closed by `close`,
    by the garbage collector, or at the end of the process.

    Args:
        open_resource: returns the context manager that opens the resource.
    """

    def __init__(self, open_resource: OpenResource[Resource]) -> None:
        self._open_resource = open_resource
        self._lock = threading.Lock()
        self._session: _Session[Resource] | None = None
        self._is_closed = False
        _backgrounds.add(self)

    def open(self) -> Future[Resource]:
        """Opens the resource unless it is open; the future has the resource, or why there is none.

        Raises:
            RuntimeError: this object was closed.
        """
        return self._current_session().opened

    def submit(self, work: Callable[[Resource], Coroutine[Any, Any, Answer]]) -> Future[Answer]:
        """Runs a coroutine in the thread.

        Cancelling the future cancels the coroutine. The future has the error of the resource if
        the resource can't be opened.

        Raises:
            RuntimeError: this object was closed.
        """
        return self._current_session().submit(work)

    def run(self, work: Callable[[Resource], Coroutine[Any, Any, Answer]]) -> Answer:
        """Runs a coroutine in the thread, and waits for its result."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:  # KeyboardInterrupt in the waiting thread, for example
            future.cancel()
            raise

    def close(self) -> None:
        """Closes the resource, and waits until it is closed."""
        with self._lock:
            self._is_closed = True
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _current_session(self) -> _Session[Resource]:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("this object was closed; make another one")
            if self._session is None or self._session.has_ended:
                self._session = _Session(self._open_resource)
                weakref.finalize(self, self._session.close)
            return self._session

    def _reset_after_fork(self) -> None:
        """Forgets the thread of the parent process, and a lock that it may hold."""
        self._lock = threading.Lock()
        self._session = None


class _Session(Generic[Resource]):
    """A thread with an event loop, in which one resource is open."""

    def __init__(self, open_resource: OpenResource[Resource]) -> None:
        self.opened: Future[Resource] = Future()
        self.has_ended = False
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(open_resource,), name="t5engine", daemon=True
        )
        self._thread.start()

    def submit(self, work: Callable[[Resource], Coroutine[Any, Any, Answer]]) -> Future[Answer]:
        async def run() -> Answer:
            return await work(await asyncio.shield(asyncio.wrap_future(self.opened)))

        with self._lock:
            if self.has_ended:
                future: Future[Answer] = Future()
                future.set_exception(_error_of(self.opened))
                return future
            future = asyncio.run_coroutine_threadsafe(run(), self._loop)
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def close(self) -> None:
        if self._pid != os.getpid():  # a forked process: the thread is the parent's
            return
        with self._lock:
            if not self.has_ended:
                self._loop.call_soon_threadsafe(self._closing.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self, open_resource: OpenResource[Resource]) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve(open_resource))
        except BaseException as error:
            if self.opened.done():
                logger.exception("the background thread failed")
            else:
                self.opened.set_exception(error)
        finally:
            with self._lock:
                self.has_ended = True
                pending = list(self._pending)
            for future in pending:  # what the loop did not start any more
                future.cancel()

    async def _serve(self, open_resource: OpenResource[Resource]) -> None:
        async with open_resource() as resource:
            self.opened.set_result(resource)
            await self._closing.wait()


def _error_of(opened: Future[Any]) -> BaseException:
    return opened.exception() or RuntimeError("this object was closed; make another one")


_backgrounds: weakref.WeakSet[Background[Any]] = weakref.WeakSet()


def _reset_all() -> None:
    for background in list(_backgrounds):
        background._reset_after_fork()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_reset_all)
