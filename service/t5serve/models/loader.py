"""Loads models, on first use or in the place of others, and unloads those that are not used."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import Context

from t5serve.errors import DeadlineExceeded, StartupError
from t5serve.models.declaration import Declaration
from t5serve.models.factory import ModelFactory
from t5serve.models.served_model import ServedModel, load_words
from t5serve.models.slot import ModelSlot
from t5serve.reformulation.lexicon import Lexicon

logger = logging.getLogger(__name__)


class Loader:
    """Loads one model after another.

    Args:
        factory: builds models.
        slots: returns all slots.
        max_bytes: the most bytes of models in memory; None: no limit.

    Attributes:
        lock: held while a model is loaded.
    """

    def __init__(
        self,
        factory: ModelFactory,
        slots: Callable[[], Sequence[ModelSlot]],
        max_bytes: int | None = None,
    ) -> None:
        self._factory = factory
        self._slots = slots
        self._max_bytes = max_bytes
        self._loading: dict[ModelSlot, asyncio.Task[None]] = {}
        self._idle_timers: dict[ModelSlot, asyncio.TimerHandle] = {}
        self.lock = asyncio.Lock()

    async def wait(self, slot: ModelSlot, seconds: float) -> None:
        """Loads the model of a slot, or waits until it is loaded; a failure is the slot's.

        Args:
            slot: the slot, whose model is not loaded.
            seconds: the time that the caller has; the model is loaded all the same.

        Raises:
            DeadlineExceeded: the model is not loaded in time.
        """
        task = self._loading.get(slot)
        if task is None:
            # An empty context: what the model logs does not belong to the request that loads it.
            task = asyncio.create_task(self._load_on_use(slot), context=Context())
            self._loading[slot] = task
            task.add_done_callback(lambda _: self._loading.pop(slot, None))
            slot.is_loading = True
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(task)
        except TimeoutError:
            message = f"the model {slot.label} was not loaded before the deadline"
            raise DeadlineExceeded(message) from None

    async def load(self, declaration: Declaration, lexicon: Lexicon | None = None) -> ServedModel:
        """Builds a model and loads it; the caller holds the lock.

        Args:
            declaration: the model.
            lexicon: its lexicon; None: read from the declared file.

        Raises:
            StartupError: the model can't be loaded.
        """
        model = await asyncio.to_thread(self._factory.build, declaration, lexicon)
        model.start_workers()
        try:
            await asyncio.to_thread(load_words, model.lexicon)
            await model.ready()
        except BaseException:
            await model.close()
            raise
        return model

    def serve(self, slot: ModelSlot, model: ServedModel) -> None:
        """Lets a loaded model serve a slot, and watches whether it is used."""
        slot.replace(model)
        self.watch_use(slot)

    def watch_use(self, slot: ModelSlot) -> None:
        """Unloads the model of a slot after its idle time, if it has one."""
        if (timer := self._idle_timers.pop(slot, None)) is not None:
            timer.cancel()
        model, minutes = slot.model, slot.declaration.idle_minutes
        if model is None or minutes is None:
            return
        idle = 0.0 if model.users.count else time.monotonic() - model.users.left_at
        seconds = 60 * minutes - idle
        if seconds <= 0:
            logger.info("unloaded %s: it was not used for %g minutes", slot.label, minutes)
            slot.replace(None)
            return
        loop = asyncio.get_running_loop()
        self._idle_timers[slot] = loop.call_later(seconds, self.watch_use, slot)

    async def make_room(self, declaration: Declaration) -> None:
        """Unloads the longest unused models until there is room for another one.

        Raises:
            StartupError: there would be no room even so, or there is no such model.
        """
        self.check_size(declaration)
        if self._max_bytes is None:
            return
        needed = self._factory.measure(declaration)
        while needed + self._bytes_in_memory() > self._max_bytes:
            loaded = [other for other in self._slots() if other.is_evictable]
            if not loaded:
                raise StartupError(
                    f"it needs {needed} bytes, but the models that load at the start leave "
                    f"{max(0, self._max_bytes - self._bytes_in_memory())} of T5SERVE_MODELS_BYTES"
                )
            victim = min(loaded, key=_last_use)
            logger.info("unloaded %s to make room for %s", victim.label, declaration.name)
            victim.replace(None)
            await victim.wait_until_retired()

    def check_size(self, declaration: Declaration) -> None:
        """Refuses a model that alone exceeds the memory budget.

        Raises:
            StartupError: it does, or there is no such model.
        """
        if self._max_bytes is None:
            return
        needed = self._factory.measure(declaration)
        if needed > self._max_bytes:
            raise StartupError(
                f"it needs {needed} bytes, more than T5SERVE_MODELS_BYTES ({self._max_bytes})"
            )

    async def close(self) -> None:
        """Ends all loads and timers."""
        for timer in self._idle_timers.values():
            timer.cancel()
        self._idle_timers.clear()
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load_on_use(self, slot: ModelSlot) -> None:
        try:
            async with self.lock:
                if slot.model is not None or slot not in self._slots():
                    return  # a reload has loaded it meanwhile, or removed it
                started = time.monotonic()
                await self.make_room(slot.declaration)
                model = await self.load(slot.declaration)
                self.serve(slot, model)
                seconds = time.monotonic() - started
                logger.info("loaded %s on its use, in %.1f s", slot.label, seconds)
        except StartupError as error:
            slot.fail(str(error), time.monotonic())
            logger.error("%s can't be loaded: %s", slot.label, error)  # noqa: TRY400 - no fault
        finally:
            slot.is_loading = False

    def _bytes_in_memory(self) -> int:
        return sum(slot.model.memory_bytes for slot in self._slots() if slot.model is not None)


def _last_use(slot: ModelSlot) -> tuple[bool, float]:
    """Orders slots by use: those that no request uses come first, the longest unused first."""
    users = slot.loaded().users
    return users.count > 0, users.left_at
