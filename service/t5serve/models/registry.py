"""The registry of the models of a service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Self

from t5serve.errors import ModelNotFound, NotReady, StartupError, excerpt
from t5serve.models.cache import ResultCache
from t5serve.models.factory import ModelFactory
from t5serve.models.loader import Loader
from t5serve.models.models_file import read_declarations
from t5serve.models.served_model import ServedModel, load_words
from t5serve.models.slot import ModelSlot
from t5serve.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0  # between attempts to load a model on its use


class ModelRegistry:
    """Finds a model by the name in a request, and loads it if need be.

    Args:
        slots: at least one; the first is the default.
        settings: the limits of the service.
        cache: the cache of the models' results; None: nothing is cached.

    Attributes:
        factory: builds models.
        loader: loads models.
        is_draining: whether the service is shutting down.
    """

    def __init__(
        self, slots: Sequence[ModelSlot], settings: Settings, cache: ResultCache | None = None
    ) -> None:
        self._slots = list(slots)
        self._removed: list[ModelSlot] = []
        self._max_bytes = settings.models_bytes
        self.factory = ModelFactory(settings, [slot.declaration for slot in slots], cache)
        self.loader = Loader(self.factory, lambda: self._slots, settings.models_bytes)
        self.is_draining = False
        self._starting: list[asyncio.Task[None]] = []

    @classmethod
    def from_settings(cls, settings: Settings, cache: ResultCache | None = None) -> Self:
        """Builds the models that the settings name; their engines are not started yet.

        Raises:
            StartupError: a setting is invalid, or none of the models can be served.
        """
        slots = [
            ModelSlot(declaration, drain_seconds=settings.drain_seconds)
            for declaration in read_declarations(settings)
        ]
        registry = cls(slots, settings, cache)
        for slot in slots:
            try:
                registry.prepare(slot)
            except StartupError as error:
                slot.fail(str(error), time.monotonic())
        if (failure := registry.failure) is not None:
            raise StartupError(failure)
        registry._check_budget()
        for slot in slots:
            if slot.failure is not None:
                logger.error("%s can't be loaded: %s", slot.label, slot.failure)
        return registry

    def __iter__(self) -> Iterator[ModelSlot]:
        return iter(self._slots)

    @property
    def default(self) -> ModelSlot:
        """The slot of requests that name no model."""
        return self._slots[0]

    @property
    def failure(self) -> str | None:
        """Why no model will ever answer; None: some may."""
        failures = [slot.failure for slot in self._slots if slot.state == "failed"]
        if len(failures) < len(self._slots):
            return None
        return "; ".join(filter(None, failures))

    def find(self, name: str | None) -> ModelSlot:
        """Returns the slot of a name, or the default for None.

        Raises:
            ModelNotFound: no model has this name.
            NotReady: the only model is loading, and its name is not known.
        """
        if name is None:
            return self.default
        for slot in self._slots:
            if slot.name == name:
                return slot
        names = ", ".join(repr(slot.name) for slot in self._slots)
        message = f"there is no model {excerpt(name)!r}; the served models are: {names}"
        raise ModelNotFound(message, param="model")

    async def use(self, name: str | None, seconds: float, stack: ExitStack) -> ServedModel:
        """Returns the model of a name, and loads it first if that is how it is declared.

        Args:
            name: the name; None: the default.
            seconds: the time that loading may take.
            stack: until it is closed, the model is not unloaded.

        Raises:
            ModelNotFound: no model has this name.
            NotReady: the model can't be loaded.
            DeadlineExceeded: the model is not loaded in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            slot = self.find(name)  # again after a wait: a reload can have removed it
            if (model := slot.model) is not None:
                stack.enter_context(model.users.join())
                return model
            if self.is_draining:
                raise NotReady("the service is draining")
            if slot.failure is not None and not _may_retry(slot):
                raise slot.not_ready()
            await self.loader.wait(slot, deadline - time.monotonic())

    def prepare(self, slot: ModelSlot) -> None:
        """Builds the model of a slot if it loads at the start, else reads about it.

        Raises:
            StartupError: there is no such model, or it can't be served.
        """
        if slot.declaration.load == "start":
            slot.replace(self.factory.build(slot.declaration))
            return
        slot.description = self.factory.describe(slot.declaration)
        self.loader.check_size(slot.declaration)

    def start(self, on_ready: Callable[[ModelSlot], None], on_failure: Callable[[], None]) -> None:
        """Starts to load the models that load at the start.

        Args:
            on_ready: called with the slot of a model that is ready.
            on_failure: called when no model is left that could answer.
        """
        slots = [slot for slot in self._slots if slot.model is not None]
        for slot in slots:
            slot.loaded().start_workers()
        for slot in slots:
            load_words(slot.loaded().lexicon)  # while the workers load
        self._starting = [
            asyncio.create_task(self._await_start(slot, on_ready, on_failure)) for slot in slots
        ]

    async def wait_until_started(self) -> None:
        """Waits until each model that loads at the start is ready or has failed."""
        if self._starting:
            await asyncio.wait(self._starting)

    def replace(self, slots: Sequence[ModelSlot]) -> None:
        """Replaces the slots. A model whose slot is gone finishes its requests, then ends."""
        gone = [slot for slot in self._slots if slot not in slots]
        self._slots = list(slots)
        self._removed = [slot for slot in [*self._removed, *gone] if any(slot.models())]
        for slot in gone:
            slot.replace(None)

    def drain(self, seconds: float) -> None:
        """Refuses new jobs from now on, and fails those that are not done after `seconds`."""
        self.is_draining = True
        for model in self._all_models():
            model.engine.drain(seconds)

    async def close(self) -> None:
        """Ends all loads and all workers."""
        self.is_draining = True
        await self.loader.close()
        await asyncio.gather(*(model.close() for model in self._all_models()))
        await asyncio.gather(*self._starting)

    def _all_models(self) -> list[ServedModel]:
        return [model for slot in [*self._slots, *self._removed] for model in slot.models()]

    async def _await_start(
        self, slot: ModelSlot, on_ready: Callable[[ModelSlot], None], on_failure: Callable[[], None]
    ) -> None:
        model = slot.loaded()
        try:
            await model.ready()
        except StartupError as error:
            if self.is_draining:  # the service ended while the model was being loaded
                return
            slot.replace(None)
            slot.fail(str(error), time.monotonic())
            if self.failure is not None:
                on_failure()
            else:
                logger.error("%s can't be loaded: %s", slot.label, error)  # noqa: TRY400
        else:
            on_ready(slot)
            self.loader.watch_use(slot)

    def _check_budget(self) -> None:
        """Refuses models that load at the start if they exceed the memory budget."""
        models = [slot.model for slot in self._slots if slot.model is not None]
        needed = sum(model.memory_bytes for model in models)
        if self._max_bytes is not None and needed > self._max_bytes:
            raise StartupError(
                f"T5SERVE_MODELS_BYTES: the models that load at the start need {needed} bytes, "
                f"more than {self._max_bytes}"
            )


def _may_retry(slot: ModelSlot) -> bool:
    """Whether a request may try to load a model that failed to load."""
    is_on_use = slot.declaration.load == "first_use"
    return is_on_use and time.monotonic() - slot.failed_at > RETRY_SECONDS
