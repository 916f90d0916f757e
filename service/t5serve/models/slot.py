"""A slot: one declared model, and the ServedModel that answers for it now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, cast

from t5engine.messages import ModelInfo
from t5serve.errors import NotReady, StartupError, request_error
from t5serve.metrics import ModelGauges
from t5serve.models.declaration import Declaration
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.profile import Profile

State = Literal["ready", "loading", "restarting", "draining", "unloaded", "failed"]


class ModelSlot:
    """One declared model. The ServedModel in it can be replaced, and be absent.

    Args:
        declaration: what the operator says of the model.
        model: the model that serves, or is being loaded; None: the model is not loaded.
        drain_seconds: the time that requests have to finish with a model that is replaced.

    Attributes:
        failure: why the latest load failed; None unless it did.
        failed_at: when it failed, in seconds by time.monotonic.
        is_loading: whether the model is being loaded on its first use.
        description: facts about a model that is not loaded, and its tasks; None: not read.
    """

    def __init__(
        self,
        declaration: Declaration,
        model: ServedModel | None = None,
        drain_seconds: float = 0.0,
    ) -> None:
        self.declaration = declaration
        self.failure: str | None = None
        self.failed_at = 0.0
        self.is_loading = False
        self.description: tuple[ModelInfo, Profile] | None = None
        self._model = model
        self._drain_seconds = drain_seconds
        self._retiring: dict[ServedModel, asyncio.Task[None]] = {}
        self._past_restarts = 0

    @property
    def model(self) -> ServedModel | None:
        """The model that serves, or is being loaded at the start; None: it is not loaded."""
        return self._model

    @property
    def name(self) -> str:
        """The name in requests.

        Raises:
            NotReady: the model is not loaded yet, and only its file has the name.
        """
        if self.declaration.name is not None:
            return self.declaration.name
        return self.loaded().name

    @property
    def label(self) -> str:
        """The name in metrics and in the log, also before it is known to requests."""
        is_known = self._model is not None and self._model.engine.model is not None
        return self.name if is_known else self.declaration.provisional_name

    @property
    def state(self) -> State:
        """The state of the model: that of its engine, or why it has none."""
        if self._model is not None:
            return cast("State", self._model.engine.state)
        if self.failure is not None:
            return "failed"
        return "loading" if self.is_loading else "unloaded"

    @property
    def is_answering(self) -> bool:
        """Whether a request would be decoded, after loading the model if need be."""
        return self.state in ("ready", "unloaded") or self.is_loading

    @property
    def is_evictable(self) -> bool:
        """Whether the model may be unloaded to make room for another."""
        return self.declaration.load == "first_use" and self._model is not None

    def loaded(self) -> ServedModel:
        """Returns the model.

        Raises:
            NotReady: the model is not loaded.
        """
        if self._model is None:
            raise self.not_ready()
        return self._model

    def not_ready(self) -> NotReady:
        """Builds the error that says why the model does not answer."""
        if self.failure is not None:
            return NotReady(f"the model could not be loaded: {self.failure}")
        if self._model is not None:
            error = request_error(self._model.engine.not_ready())
            return NotReady(error.message, retry_after=error.retry_after)
        return NotReady(f"the model is {self.state}")

    def describe(self) -> tuple[ModelInfo, Profile] | None:
        """Returns facts about the model and its tasks; None: they are not known yet."""
        if self._model is not None and self._model.engine.model is not None:
            return self._model.info, self._model.profile
        return self.description

    def fail(self, reason: str, now: float) -> None:
        """Records that a load failed."""
        self.failure, self.failed_at = reason, now

    def replace(self, model: ServedModel | None) -> None:
        """Lets another model serve, or none; the old one finishes its requests, then ends."""
        old, self._model = self._model, model
        self.failure = None
        if old is None:
            return
        if old.engine.model is not None:
            with suppress(StartupError):  # the defaults don't fit it
                self.description = old.info, old.profile
        task = asyncio.create_task(old.retire(self._drain_seconds))
        self._retiring[old] = task
        task.add_done_callback(lambda _: self._forget(old))

    async def wait_until_retired(self) -> None:
        """Waits until the replaced models have ended."""
        if self._retiring:
            await asyncio.wait(list(self._retiring.values()))

    def models(self) -> Iterator[ServedModel]:
        """Yields the model that serves and those that still finish requests."""
        if self._model is not None:
            yield self._model
        yield from list(self._retiring)

    def gauges(self) -> ModelGauges:
        """Returns the current figures of the model; those of replaced ones are included."""
        engines = [model.engine for model in self.models()]
        described = None
        if self._model is not None and self._model.engine.model is not None:
            described = self._model.info.description
        return ModelGauges(
            name=self.label,
            description=described,
            waiting=sum(engine.waiting for engine in engines),
            running=sum(engine.running for engine in engines),
            max_queue=self._model.engine.max_queue if self._model is not None else 0,
            worker_bytes=sum(engine.resident_bytes for engine in engines),
            is_ready=self.is_answering,
            has_failed=self.state == "failed",
            restarts=self._past_restarts + sum(engine.restarts for engine in engines),
        )

    def _forget(self, model: ServedModel) -> None:
        del self._retiring[model]
        self._past_restarts += model.engine.restarts
